// print writes an event as a line of JSON. It parses the data first, as pages do in
// every handler, without a thought for data that is no JSON: that ends the program.
export function print(id, type, data) {
  try {
    JSON.parse(data);
  } catch (error) {
    console.error(`a handler throws at ${JSON.stringify(data)}: ${error.message}`);
    process.exit(3);
  }
  process.stdout.write(`${JSON.stringify({ id, type, data })}\n`);
}

/** printMessage is a handler of onmessage. */
export const printMessage = (message) => print(message.lastEventId, message.type, message.data);

export const url = process.argv[2];
