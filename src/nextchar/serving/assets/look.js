// The tab Look; the object is explained in shell.js.
tabs.look = (() => {
  return { title: "Look", needsModel: true, open() {}, close() {}, state: () => ({}) };
})();
