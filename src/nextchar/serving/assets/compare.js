// The tab Compare; the object is explained in shell.js.
tabs.compare = (() => {
  return { title: "Compare", needsModel: true, open() {}, close() {}, state: () => ({}) };
})();
