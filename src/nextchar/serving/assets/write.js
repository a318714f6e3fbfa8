// The tab Write; the object is explained in shell.js.
tabs.write = (() => {
  return { title: "Write", needsModel: true, open() {}, close() {}, state: () => ({}) };
})();
