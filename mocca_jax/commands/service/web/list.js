// The list of all pictures that were judged: the unusual ones first, those with the largest score first among them.

import { small } from "./pictures.js";
import { figure, relative, sort, verdict } from "./words.js";

const MOST = 1000;  // rows; of more, the oldest are left out, first those that look good
const ORDER = ["unusual", "fault", "undecided", "usual", "waiting"];
const FILTERS = {
  all: ["All", () => true], unusual: ["Unusual", item => sort(item) === "unusual"],
  usual: ["Look good", item => sort(item) === "usual"], fault: ["Not judged", item => sort(item) === "fault"],
  marked: ["Marked", item => item.mark],
};
const MARKS = { good: "marked good", bad: "marked bad" };
const at = id => document.getElementById(id);

export const items = [];
let added = 0, filter = "all", drawn = false, onChosen = () => {}, about = null;
export const state = { chosen: null, own: false };  // `own`: a person has chosen it

export function begin(known, chosen) { about = known; onChosen = chosen; }

export const shownItems = () => items.filter(FILTERS[filter][1]);

export function add(item) {
  item.serial = added++;
  items.push(item);
  if (items.length > MOST) leaveOut();
  refresh();
}

function leaveOut() {
  const may = items.filter(each => each !== state.chosen && !each.mark && sort(each) !== "waiting");
  const good = may.filter(each => sort(each) === "usual"), from = good.length ? good : may;
  const oldest = from.reduce((a, b) => a && a.serial < b.serial ? a : b, null);
  if (oldest) items.splice(items.indexOf(oldest), 1);
}

export function remove(item) {
  items.splice(items.indexOf(item), 1);
  refresh();
}

export function clear() {
  items.length = 0;
  [state.chosen, state.own] = [null, false];
  onChosen(null);
  refresh();
}

export function bar(answer) {
  const box = document.createElement("div");
  if (about.threshold === null) return box;
  const place = (relative(answer.score, about) + 1) / 4, kept = Math.min(Math.max(place, 0.01), 0.99);
  box.className = `bar ${answer.anomalous ? "unusual" : "usual"}${place > 1 ? " beyond" : ""}`;
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `score ${figure(answer.score)}, limit ${figure(about.threshold)}`);
  for (const name of ["limit", "at"]) box.append(Object.assign(document.createElement("span"), { className: name }));
  box.lastChild.style.left = `${100 * kept}%`;
  return box;
}

function text(name, said) {
  return Object.assign(document.createElement("span"), { className: name, textContent: said });
}

// Fills an item's row; it is made once.
function row(item) {
  if (!item.row) {
    item.row = document.createElement("li");
    item.button = Object.assign(document.createElement("button"), { type: "button", className: "row" });
    item.button.onclick = () => choose(item, true);
    item.thumb = small(item);
    item.row.append(item.button);
  }
  const looks = `${sort(item)} ${item.mark ?? ""}`;
  if (item.looks !== looks) {
    item.looks = looks;
    const { said, kind } = verdict(item), first = document.createElement("span");
    if (item.mark) first.append(text("mark", MARKS[item.mark]));
    first.append(text(`verdict ${kind}`, said));
    item.button.replaceChildren(item.thumb, first, text("name", item.name), item.answer ? bar(item.answer) : text("name", item.fault ?? ""));
    item.button.title = item.name;
  }
  item.button.setAttribute("aria-current", String(item === state.chosen));
  return item.row;
}

const rank = item => ORDER.indexOf(sort(item));
const earlier = (a, b) => rank(a) - rank(b) || (b.answer?.score ?? 0) - (a.answer?.score ?? 0);

export function refresh() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => { drawn = false; draw(); });
}

function draw() {
  items.sort(earlier);
  at("judged").hidden = !items.length;
  const buttons = Object.entries(FILTERS).map(([name, [said, fits]]) => {
    const count = items.filter(fits).length;
    if (!count && name !== "all" && name !== filter) return null;
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: `${said} (${count})` });
    button.dataset.filter = name;
    button.setAttribute("aria-pressed", String(name === filter));
    button.onclick = () => { filter = name; refresh(); };
    return button;
  });
  const focused = document.activeElement?.dataset?.filter;
  at("filters").replaceChildren(...buttons.filter(Boolean));
  if (focused) at("filters").querySelector(`[data-filter=${focused}]`)?.focus();
  const rows = shownItems().map(row), list = at("list");
  if (rows.length !== list.children.length || rows.some((each, n) => list.children[n] !== each)) {
    const within = list.contains(document.activeElement) ? document.activeElement : null, scrolled = list.scrollTop;
    list.replaceChildren(...rows);
    list.scrollTop = scrolled;
    within?.focus({ preventScroll: true });
  }
  at("none").hidden = rows.length > 0 || !items.length;
  if (!state.chosen) first();
}

// Chooses the first of the list, or of `given`, unless a person has chosen.
export function first(given = null) {
  items.sort(earlier);
  const found = shownItems().find(item => (item.answer || item.fault) && (!given || given.includes(item)));
  if (found && !state.own && found !== state.chosen) choose(found);
}

export function choose(item, looked = false) {
  const before = state.chosen;
  state.chosen = item;
  state.own ||= looked;
  before?.button?.setAttribute("aria-current", "false");
  item?.button?.setAttribute("aria-current", "true");
  onChosen(item, looked);
}

// To the picture so many rows on.
export function step(by) {
  const rows = shownItems();
  if (!rows.length) return;
  const now = rows.indexOf(state.chosen), next = now < 0 ? 0 : Math.min(Math.max(now + by, 0), rows.length - 1);
  state.own = true;
  choose(rows[next]);
  rows[next].button.scrollIntoView({ block: "nearest" });
  rows[next].button.focus({ preventScroll: true });
}
