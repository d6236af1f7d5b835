/*
 * The action proxy for Node.js: `POST /init` once, then `POST /run`, over HTTP/1.1 (spec 9.1-9.3).
 *
 * One file, built-in modules only, Node.js 16 or newer, so that it can be copied into an image:
 *
 *     node nodejs.js --fd N [--watch-stdin]                a listening socket that was passed down
 *     node nodejs.js [--host ADDRESS] [--port 8080]        a socket of its own
 *
 * `--watch-stdin` ties its life to the other end of standard input: when that is closed (or written to) a thread kills
 * the process, whatever the function is doing. The thread is started by `/init` and costs 10 MB, and 35 ms of
 * processor time beside the function; who can have the kernel do it, such as a parent with PR_SET_PDEATHSIG, should.
 *
 * As with OpenWhisk's own proxy, what the function throws is a failure (502) and goes to its log, and a promise that it
 * rejects is an answer: `{"error": …}`. `process.exit`, and what is thrown outside of a run, end the process, which
 * whoever called sees as a crash.
 *
 * Runs that arrive together wait for one another, unless `__OW_ALLOW_CONCURRENT` is `true` when the proxy is started
 * (spec 10.12.6). Then they run together, and share what the process has: `__OW_ACTIVATION_ID` and its like are those of
 * the run that began last, and output can't be told apart; yet each ends both streams with a sentinel before its answer.
 */
"use strict";

const fs = require("fs");
const http = require("http");
const { Module } = require("module");
const path = require("path");
const { Writable } = require("stream");

const SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"; // spec 9.11.1
const BODY_LIMIT = 64 * 2 ** 20; // bytes of a request
const UNPACKED_LIMIT = 512 * 2 ** 20; // bytes of all files of an archive together
const MEMBER_LIMIT = 20000;
const RATIO_LIMIT = 200; // how much larger than the archive its files may be
const RATIO_FLOOR = 32 * 2 ** 20; // up to which small archives are let off
const ERROR_TEXT_LIMIT = 4096;
const KEEP_ALIVE = 600000; // milliseconds for which an idle connection is kept; the `Keep-Alive` header tells callers

const SHARED = /^true$/i.test(process.env.__OW_ALLOW_CONCURRENT); // runs that arrive together run together

let main; // the function, once it is loaded; `null` while it is
let turn = Promise.resolve(); // ends with the last run that was asked for; only where one waits for another

/** A request that can't be served, or code that can't be loaded: what its caller is told. */
class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// --- activations -----------------------------------------------------------------------------------------------

/** Load the function; its output so far belongs to its first activation, so no sentinel follows. */
async function init(request) {
  if (main !== undefined) throw new Refused(403, "Cannot initialize the action more than once.");
  const { code, binary, env, main: entry } = Object(request.value);
  if (typeof code !== "string" || code === "") throw new Refused(502, "Missing main/no code to execute.");
  watchAside();
  main = null;
  try {
    for (const [key, text] of Object.entries(env || {})) process.env[key] = asText(text);
    main = await (binary ? packed(code, entry || "main") : plain(code, entry || "main"));
  } catch (error) {
    main = undefined;
    log(error);
    throw new Refused(502, `Initialization has failed due to: ${brief(error)}`);
  }
  return '{"ok":true}';
}

/** Run an activation: at once, or after those that came before. */
function run(request) {
  if (!main) throw new Refused(500, "Cannot invoke an uninitialized action.");
  if (SHARED) return activation(request);
  const result = turn.then(() => activation(request));
  turn = result.catch(() => {}); // whoever asked is told
  return result;
}

/** Run one activation, and end its logs. */
async function activation(request) {
  const { value, ...context } = request;
  for (const key in context) process.env["__OW_" + key.toUpperCase()] = asText(context[key]);
  try {
    return asJson(await outcome(value === undefined || value === null ? {} : value));
  } finally {
    await endLogs();
  }
}

async function outcome(value) {
  let result;
  try {
    result = main(value);
  } catch (error) {
    log(error);
    throw new Refused(502, `An error has occurred (see logs for details): ${brief(error)}`);
  }
  try {
    return await result;
  } catch (error) {
    if (error instanceof Error) log(error);
    return { error: asValue(error) };
  }
}

function asJson(result) {
  if (result === undefined || result === null) return "{}";
  try {
    const text = typeof result === "object" ? JSON.stringify(result) : undefined;
    if (/^[{[]/.test(text)) return text;
  } catch (error) {
    log(`The result is not JSON: ${brief(error)}`);
  }
  throw new Refused(502, "The action did not return a dictionary or array.");
}

/** What a promise was rejected with, as a JSON value; JSON knows nothing of errors. */
function asValue(error) {
  if (!error) return {};
  return error instanceof Error ? { name: error.name, message: error.message, ...error } : error;
}

const asText = (value) => (typeof value === "string" ? value : value === null ? "" : JSON.stringify(value));

function brief(error) {
  try {
    return String(error).slice(0, ERROR_TEXT_LIMIT);
  } catch {
    return "?";
  }
}

// --- logs ------------------------------------------------------------------------------------------------------

const outputs = [process.stdout, process.stderr];

/** Both streams as files of our own: written at once and in full, even if the function closes its own. */
const streams = [1, 2].map((fd) => {
  try {
    return fs.openSync(`/proc/self/fd/${fd}`, "a");
  } catch {
    return fd; // a socket, or somebody else's
  }
});

function write(fd, text) {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(fd, rest));
    } catch (error) {
      if (error.code !== "EAGAIN") return; // nobody reads any more
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** Add to the function's stderr; of a stack only what is the function's. */
function log(error) {
  let text;
  try {
    text = typeof error === "string" ? error : String((error && error.stack) || error);
  } catch {
    text = "an error that can't be shown";
  }
  const ours = (line) => line.includes(__filename) || /^ +at .*node:(internal|events)/.test(line);
  const lines = text.split("\n").filter((line) => !ours(line));
  outputs[1].write(lines.join("\n").trimEnd() + "\n");
}

/** End the activation's output: whoever reads it finds the sentinels no later than the reply. */
async function endLogs() {
  for (const stream of outputs) {
    if (stream.writableLength > 0) await new Promise((resolve) => Writable.prototype.write.call(stream, "", resolve));
  }
  for (const fd of streams) write(fd, SENTINEL);
}

// --- the function's code ---------------------------------------------------------------------------------------

/** Source text: a CommonJS module whose function may also just be there, or an ES module. */
function plain(code, name) {
  const file = path.join(process.cwd(), "index.js");
  const loaded = new Module(file);
  loaded.filename = file;
  loaded.paths = Module._nodeModulePaths(process.cwd());
  const isName = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name);
  const local = isName ? `typeof ${name} === "function" ? ${name} : null` : "null";
  try {
    const found = loaded._compile(`${code}\n;return ${local};`, file);
    return entryPoint(found || Object(loaded.exports)[name], name);
  } catch (error) {
    const fault = error instanceof SyntaxError ? syntaxError(code, file) : undefined;
    if (fault === undefined) throw error; // the code is well-formed: it threw this itself
    if (!/^\s*(import|export)\b/m.test(code)) throw fault;
  }
  const written = path.join(newFolder(), "index.mjs");
  fs.writeFileSync(written, code);
  return imported(written, name);
}

/** An archive: unpacked into a new folder, which is made the working directory. */
async function packed(code, name) {
  const folder = newFolder();
  unpack(Buffer.from(code, "base64"), folder);
  if (!fs.existsSync(path.join(folder, "package.json")) && !fs.existsSync(path.join(folder, "index.js"))) {
    throw new Error("Zipped actions must contain either package.json or index.js at the root.");
  }
  process.chdir(folder);
  const file = require.resolve(folder);
  const description = path.join(folder, "package.json");
  const type = fs.existsSync(description) ? JSON.parse(fs.readFileSync(description, "utf8")).type : undefined;
  if (file.endsWith(".mjs") || (type === "module" && !file.endsWith(".cjs"))) return imported(file, name);
  return entryPoint(Object(require(file))[name], name);
}

async function imported(file, name) {
  const exported = await import(require("url").pathToFileURL(file));
  return entryPoint(exported[name] || Object(exported.default)[name], name);
}

function entryPoint(found, name) {
  if (typeof found === "function") return found;
  throw new TypeError(`Action entrypoint '${name}' is not a function.`);
}

/** What is wrong with a CommonJS module, told without the line that was added to it. */
function syntaxError(code, filename) {
  try {
    require("vm").compileFunction(code, ["exports", "require", "module", "__filename", "__dirname"], { filename });
    return undefined;
  } catch (error) {
    return error;
  }
}

const newFolder = () => fs.realpathSync(fs.mkdtempSync(path.join(require("os").tmpdir(), "action-")));

/** Unpack a zip archive; everything stays inside `folder`. */
function unpack(data, folder) {
  const members = directory(data);
  const unpacked = members.reduce((sum, member) => sum + member.size, 0);
  if (unpacked > Math.min(UNPACKED_LIMIT, Math.max(RATIO_FLOOR, data.length * RATIO_LIMIT))) {
    throw new Error(`the archive of ${data.length} bytes would be ${unpacked} bytes long; that is too much`);
  }
  const links = [];
  for (const member of members) {
    if (member.flags & 1) throw new Error(`'${member.name}' is encrypted`);
    const file = inside(folder, member.name);
    if (member.name.endsWith("/")) {
      fs.mkdirSync(file, { recursive: true });
      continue;
    }
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const isLink = (member.mode & 0o170000) === 0o120000;
    if (isLink) links.push([file, content(data, member).toString()]);
    else fs.writeFileSync(file, content(data, member), { flag: "wx", mode: member.mode & 0o111 ? 0o755 : 0o644 });
  }
  // At last, so that nothing is written through one.
  for (const [file, target] of links) fs.symlinkSync(target, file);
  for (const [file, target] of links) {
    if (!fs.realpathSync(file).startsWith(folder + path.sep)) {
      throw new Error(`'${path.basename(file)}' is a link to '${target}', outside of the archive`);
    }
  }
}

/** The members that an archive's central directory lists. */
function directory(data) {
  let end = data.length - 22;
  while (end >= 0 && data.readUInt32LE(end) !== 0x06054b50) end -= 1;
  if (end < 0) throw new Error("the code is no zip archive");
  const count = data.readUInt16LE(end + 10);
  if (count > MEMBER_LIMIT) throw new Error(`the archive has ${count} members; ${MEMBER_LIMIT} are allowed`);
  let at = end - data.readUInt32LE(end + 12); // there may be something in front of the archive
  const start = at - data.readUInt32LE(end + 16);
  const members = [];
  for (let i = 0; i < count; i += 1) {
    if (start < 0 || data.readUInt32LE(at) !== 0x02014b50) throw new Error("the archive's directory is broken");
    const name = data.toString("utf8", at + 46, at + 46 + data.readUInt16LE(at + 28)).replace(/\\/g, "/");
    members.push({
      name,
      flags: data.readUInt16LE(at + 8),
      method: data.readUInt16LE(at + 10),
      checksum: data.readUInt32LE(at + 16),
      packed: data.readUInt32LE(at + 20),
      size: data.readUInt32LE(at + 24),
      mode: data.readUInt16LE(at + 40),
      header: start + data.readUInt32LE(at + 42),
    });
    at += 46 + data.readUInt16LE(at + 28) + data.readUInt16LE(at + 30) + data.readUInt16LE(at + 32);
  }
  return members;
}

/** A member's bytes: never more than the directory declares. */
function content(data, member) {
  const zlib = require("zlib");
  const at = member.header;
  const start = at + 30 + data.readUInt16LE(at + 26) + data.readUInt16LE(at + 28);
  let bytes = data.subarray(start, start + member.packed);
  if (member.method === 8) bytes = zlib.inflateRawSync(bytes, { maxOutputLength: Math.max(member.size, 1) });
  else if (member.method !== 0) throw new Error(`'${member.name}' is packed in an unknown way`);
  if (bytes.length !== member.size || (zlib.crc32 && zlib.crc32(bytes) !== member.checksum)) {
    throw new Error(`'${member.name}' is damaged`);
  }
  return bytes;
}

/** Where a member goes. */
function inside(folder, name) {
  const parts = name.split("/");
  if (parts.includes("..") || parts[0] === "" || parts[0][1] === ":" || name.includes("\0")) {
    throw new Error(`the archive has a member '${name}', which would leave its folder`);
  }
  return path.join(folder, ...parts);
}

// --- HTTP ------------------------------------------------------------------------------------------------------

const HANDLERS = new Map(Object.entries({ "POST /init": init, "POST /run": run }));

function receive(request, response) {
  const length = request.headers["content-length"];
  if (length === undefined && request.headers["transfer-encoding"] !== undefined) {
    refuse(response, new Refused(411, "A request needs a Content-Length."));
  } else if (Number(length) > BODY_LIMIT) {
    refuse(response, new Refused(413, `The request is longer than ${BODY_LIMIT} bytes.`));
  } else {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => answer(request, Buffer.concat(chunks), response));
  }
}

/** Answer before the request was read; what follows can't be understood. */
function refuse(response, error) {
  response.setHeader("Connection", "close");
  send(response, error.status, failure(error));
  response.once("finish", () => response.socket.destroySoon());
}

async function answer(request, body, response) {
  let status = 200;
  let text;
  try {
    const handler = HANDLERS.get(`${request.method} ${request.url}`);
    if (handler === undefined) throw new Refused(404, "There is POST /init and POST /run, nothing else.");
    text = await handler(parse(body));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    status = error.status;
    text = failure(error);
  }
  send(response, status, text);
}

const failure = (error) => JSON.stringify({ error: error.message });

function send(response, status, text) {
  response.sendDate = false;
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) });
  response.end(text);
}

function parse(body) {
  let request;
  try {
    request = JSON.parse(body.toString());
  } catch (error) {
    throw new Refused(400, `The request is not JSON: ${error.message}`);
  }
  if (typeof request !== "object" || request === null || Array.isArray(request)) {
    throw new Refused(400, "The request is no JSON object.");
  }
  return request;
}

// --- the process -----------------------------------------------------------------------------------------------

let watched; // descriptor whose end ends us, until a thread of its own watches it, if anybody asked for that

/** Leave at the end of `fd`, as soon as this thread gets to it. Its text is also the thread's program. */
function leaveWith(fd) {
  const { Socket } = require("net");
  const leave = () => {
    try {
      process.kill(-process.pid, "SIGKILL"); // the group, if we lead one
    } catch {
      process.kill(process.pid, "SIGKILL");
    }
  };
  return new Socket({ fd }).on("data", leave).on("end", leave).on("error", leave);
}

/** From here on the function may keep the main thread busy. */
function watchAside() {
  if (watched === undefined) return;
  const { Worker } = require("worker_threads");
  const program = `(${leaveWith})(require("worker_threads").workerData)`;
  new Worker(program, { eval: true, workerData: watched, env: {}, execArgv: [] }).unref();
  watched = undefined;
}

/** Give the function an empty standard input; return a descriptor of the one that was there. */
function takeStdin() {
  let own;
  try {
    own = fs.openSync("/proc/self/fd/0", "r");
  } catch {
    return 0; // a socket: it can't be opened again
  }
  fs.closeSync(0);
  fs.openSync("/dev/null", "r"); // takes the lowest number that is free
  return own;
}

function options(argv) {
  const given = { host: "0.0.0.0", port: "8080" };
  for (let i = 0; i < argv.length; i += 1) {
    if (argv[i] === "--watch-stdin") given.watch = true;
    else given[argv[i].slice(2)] = argv[(i += 1)];
  }
  return given;
}

function serve() {
  const { fd, host, port, watch } = options(process.argv.splice(2));
  const stdin = takeStdin();
  if (watch) leaveWith((watched = stdin)).unref();
  const server = http.createServer({ keepAliveTimeout: KEEP_ALIVE }, receive);
  server.keepAliveTimeout = KEEP_ALIVE;
  server.requestTimeout = 0;
  server.headersTimeout = 0;
  server.listen(fd === undefined ? { host, port: Number(port) } : { fd: Number(fd) });
}

serve();
