// The page: takes pictures, has them judged, shows them; marks them where the service allows it.

import { ask, asJson, choose as chooseProduct, queue } from "./ask.js";
import * as list from "./list.js";
import * as one from "./one.js";
import { dropped, judged, named } from "./pictures.js";
import { several, trouble } from "./words.js";

const AT_ONCE = 5, POLL = 1500;  // requests; milliseconds
const at = id => document.getElementById(id);
const work = queue(AT_ONCE);
let about = null, waiting = 0, after = 0, done = [], begun;
const ready = new Promise(resolved => { begun = resolved; });

const tell = (said, problem = false) => { at("told").textContent = said; at("told").className = problem ? "problem" : ""; };

function changed(item) {
  list.refresh();
  if (item === list.state.chosen) { one.show(item); marks(); }
}

// Pictures that a person gives.

function give(files) {
  const given = [];
  if (files.length) list.state.own = false;  // who gives pictures wants to see them
  for (const { file, name } of files) {
    const item = { name: name || "pasted picture", file };
    list.add(item);
    given.push(item);
    waiting++;
    work(async () => {
      await ready;
      if (!list.items.includes(item)) { waiting--; return; }
      try { item.answer = await judged(item); } catch (error) { item.fault = trouble(error.message); }
      waiting--;
      tell(waiting ? `${several(waiting, "picture", "pictures")} still to look at` : "");
      changed(item);
      if (!waiting) list.first(given);
    });
  }
  if (files.length) tell(`${several(waiting, "picture", "pictures")} still to look at`);
}

at("files").onchange = event => { give(named(event.target.files)); event.target.value = ""; };
document.addEventListener("paste", event => give(named(event.clipboardData.files)));
for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, event => { event.preventDefault(); at("give").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => at("give").classList.remove("over"));
document.addEventListener("drop", async event => {
  event.preventDefault();
  give(await dropped(event.dataTransfer));
});

// Pictures of the watched folder.

const known = { good: new Set(), bad: new Set() };
const markOf = digest => ["good", "bad"].find(kind => known[kind].has(digest)) ?? null;

async function poll() {
  let soon = false;
  try {
    const news = await asJson("watched", { parameters: { after } });
    if (news.next < after) list.clear();  // the journal was begun anew
    after = news.next;
    soon = news.items.length > 0;
    for (const { number, name, digest, answer, fault } of news.items) {
      const before = list.items.find(each => each.fault && !each.file && each.name === name);
      if (before) list.remove(before);
      list.add({ number, name, digest, answer, fault: fault && trouble(fault), mark: markOf(digest) });
    }
    const coming = news.coming ? `, ${several(news.coming, "file", "files")} still coming` : "";
    at("watching").textContent = news.fault ? `The folder “${news.folder}” cannot be looked into: ${news.fault}`
      : `New pictures in the folder “${news.folder}” appear by themselves${coming}.`;
    at("watching").className = news.fault ? "problem" : "";
  } catch (error) {
    at("watching").textContent = `The watched folder: ${error.message}`;
    at("watching").className = "problem";
  }
  setTimeout(poll, soon ? 0 : POLL);
}

// Marking.

function marks() {
  const item = list.state.chosen;
  at("marking").hidden = !about.queue || !item || !!item.fault;
  if (!item) return;
  at("mark").textContent = item.mark === "good" ? "Kept as good, to be learned." : item.mark === "bad" ? "Kept as bad." : "";
  at("good").disabled = item.mark === "good" || !item.answer;
  at("bad").disabled = item.mark === "bad" || !item.answer;
  at("undo").disabled = !done.length;
}

async function counts() {
  const { good, bad, command } = await asJson("queue");
  at("learn").textContent = command;
  known.good = new Set(good);
  known.bad = new Set(bad);
  at("queue").hidden = !(good.length || bad.length);
  at("counts").textContent = `Kept for later: ${good.length} good, ${bad.length} bad.`;
  at("learning").hidden = !good.length;
}

async function put(item, kind) {
  const options = item.file ? { body: item.file, parameters: { kind } } : { parameters: { kind, watched: item.number } };
  item.digest = (await asJson("queue", { method: "PUT", ...options })).digest;
}

const take = item => ask("queue", { method: "DELETE", parameters: { digest: item.digest } })
  .catch(error => { if (error.status !== 404) throw error; });  // it was taken out already

async function set(item, kind) {
  try {
    await (kind ? put(item, kind) : take(item));
    item.mark = kind;
    await counts();
    tell("");
  } catch (error) {
    tell(`Not marked: ${error.message}`, true);
    return false;
  } finally {
    changed(item);
  }
  return true;
}

async function mark(kind) {
  const item = list.state.chosen;
  if (!about.queue || !item?.answer || item.mark === kind) return;
  const before = item.mark ?? null;
  if (await set(item, kind)) done.push({ item, before });
  marks();
}

async function undo() {
  const last = done.pop();
  if (!last) return;
  if (!await set(last.item, last.before)) done.push(last);
  list.choose(last.item);
}

// Keys and buttons.

const help = () => at("help").showModal();
const KEYS = {
  ArrowDown: () => list.step(1), ArrowRight: () => list.step(1), ArrowUp: () => list.step(-1), ArrowLeft: () => list.step(-1),
  g: () => mark("good"), b: () => mark("bad"), u: undo, m: () => about.maps && one.toggle(), "?": help,
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("select, input[type=range], input[type=password]");
  if (!about || !KEYS[event.key] || (typing && event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  KEYS[event.key]();
});
at("help-button").onclick = help;
at("good").onclick = () => mark("good");
at("bad").onclick = () => mark("bad");
at("undo").onclick = undo;

// What is served.

// The products; with several, a person chooses one.
async function meet() {
  const { products } = await asJson("products");
  const select = at("product");
  select.replaceChildren(...products.map(each => new Option(each.product)));
  at("products").hidden = products.length < 2;
  select.onchange = () => {
    list.clear();
    done = [];
    serve(products.find(each => each.product === select.value), products.length > 1);
  };
  await serve(products[0], products.length > 1);
}

async function serve(product, several) {
  chooseProduct(several ? product.product : "");  // before anything is waited for: pictures may come at once
  about = { ...product, ...await asJson("about") };
  at("about").textContent = `Compares pictures with good ones. Learned from: ${product.trained_on}.`;
  list.begin(about, (item, looked) => {
    one.show(item);
    marks();
    if (looked && matchMedia("(max-width: 50rem)").matches) at("one").scrollIntoView();
  });
  one.begin(about);
  one.show(null);
  if (about.queue) await counts();
}

// It compiles its programs before it answers; that may take a minute.
async function warm() {
  tell("The service is getting ready ...");
  await ask("ready");
  tell("");
}

async function begin() {
  try {
    await meet();
    for (const row of document.querySelectorAll(".marks")) row.hidden = !about.queue;
    at("watching").hidden = !about.watch;
    if (about.watch) poll();
    await warm();
    begun();
    document.body.dataset.ready = "yes";
  } catch (error) {
    tell(`This page cannot begin: ${error.message}`, true);
  }
}
begin();
