// A text that a model continues in place: the same on the page of `nextchar serve` and in an exported file.
//
//   const made = writer(engine, { remember: () => {} });   after readPalette() of colours.js
//   document.body.append(made.element);
//   made.open(state)    show a state: strings, as of made.state(); what is left out keeps its default
//   made.state() -> { model, text, temperature, minp, seed, length, stop }   strings for the address; remember() says they changed
//   made.models()       engine.models has changed
//   made.stop()         end what is being generated
//
// The engine knows where models run:
//
//   engine.models -> [{ name, units: "characters" | "bytes", characters: size of the vocabulary,
//                       alphabet: string of all known characters or null, layers, hidden, cell }]
//   engine.generate({ model: name, prompt, length, temperature, minP, topK, topP, seed, stop: [strings], alternatives: count,
//                     notice: (sentence or "") => {} }, signal) -> async iterator of steps, one for each character:
//                     { text, logprob, alternatives: [[text, logprob], ...] }   natural logarithms, at temperature 1,
//                     without filters; likeliest first. Aborted by signal, it ends or throws an AbortError.
//                     length 1 and alternatives are also used to ask what may follow a text.
//   engine.score({ model, text, alternatives, notice }, signal) -> promise of an array of the same steps, one for each
//                     character of the text, the first one predicted from START
//   What fails throws an Error whose message is a sentence to show. notice tells what it waits for.
//
// Scripts: WRITER of page.py, in its order; style: writer.css.
