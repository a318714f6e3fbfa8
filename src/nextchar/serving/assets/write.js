// The tab Write: the writer of all pages, with the engine of this server. The object is explained in shell.js.
tabs.write = (() => {
  let made = null;
  // Opens the text, or its end, in the tab Look.
  function look() {
    const { model } = made.state();
    location.hash = `#tab=look&model=${encodeURIComponent(model)}&text=${encodeURIComponent([...made.text()].slice(-ADDRESSED).join(""))}`;
  }
  return {
    title: "Write",
    needsModel: true,
    open(panel, state) {
      if (!made) {
        made = writer(engine, { remember, buttons: [button("Look inside", look, { title: "Colour the text by what a neuron holds, in the tab Look" })] });
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
