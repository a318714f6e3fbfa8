// The tab Write: the writer of all pages, with the engine of this server. The object is explained in shell.js.
tabs.write = (() => {
  let made = null;
  return {
    title: "Write",
    needsModel: true,
    open(panel, state) {
      if (!made) {
        made = writer(engine, { remember });
        panel.append(made.element);
      }
      if (state) made.open(state);
      else made.models();
    },
    close: () => made.stop(),
    state: () => made.state(),
    models: () => made.models(),
  };
})();
