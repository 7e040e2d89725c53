// A browser's XMLHttpRequest, as much of it as sse.js needs: what comes is shown as it
// comes.
import http from 'node:http';

globalThis.XMLHttpRequest = class XMLHttpRequest extends EventTarget {
  static HEADERS_RECEIVED = 2;
  readyState = 0;
  status = 0;
  responseText = '';
  #headers = {};

  open(method, url) {
    Object.assign(this, { method, url });
  }

  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  getResponseHeader(name) {
    return this.#response?.headers[name.toLowerCase()] ?? null;
  }

  getAllResponseHeaders() {
    return Object.entries(this.#response?.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`).join('');
  }

  send(body) {
    this.#request = http.request(this.url, { method: this.method, headers: this.#headers }, (response) => {
      this.#response = response;
      this.status = response.statusCode;
      this.#state(2);
      response.setEncoding('utf8');
      response.on('data', (text) => {
        this.responseText += text;
        this.#state(3);
        this.#fire('progress');
      });
      response.on('end', () => this.#end('load'));
      response.on('error', () => this.#end('error'));
    });
    this.#request.on('error', () => this.#end('error'));
    this.#request.end(body ?? undefined);
  }

  abort() {
    this.#request?.destroy();
    this.#end('abort');
  }

  #request;
  #response;

  #end(how) {
    if (this.readyState === 4) return;
    if (how !== 'load') Object.assign(this, { status: 0, responseText: '' });
    this.#state(4);
    this.#fire(how);
  }

  #state(state) {
    this.readyState = state;
    this.#fire('readystatechange');
  }

  #fire(type) {
    const event = new Event(type);
    this.dispatchEvent(event);
  }
};
