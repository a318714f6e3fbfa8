// The tab Learn; the object is explained in shell.js.
tabs.learn = (() => {
  return { title: "Learn", needsModel: false, open() {}, close() {}, state: () => ({}) };
})();
