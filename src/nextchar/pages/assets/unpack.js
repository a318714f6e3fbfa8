// Returns the numbers that pages.page.pack deflated, as a typed array. Needs no document: a worker may use it.
async function unpack(text, Type) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = binary.charCodeAt(k); // Uint8Array.from takes several times as long
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Type(await new Response(stream).arrayBuffer());
}
