// The chosen picture: what is said about it, itself, its map and its regions.

import { bar } from "./list.js";
import { address, goodAddress, mapped } from "./pictures.js";
import { chance, figure, part, place, several, sort, verdict } from "./words.js";

const at = id => document.getElementById(id);
const make = (name, said, more = {}) => Object.assign(document.createElement(name), { textContent: said, ...more });
const SMALL = 480;  // pixels across
const AROUND = 128;  // pixels that the service shows on each side of a place, unless the picture ends before
let now = null, about = null, url = "", good = "";

export function begin(known) {
  about = known;
  if (!known.maps) at("show").hidden = true;
  at("map").onchange = at("strength").oninput = look;
  at("picture").onload = fit;
}

// Small pictures are shown larger, tall ones as high as the window allows.
function fit() {
  const { naturalWidth: wide, naturalHeight: high } = at("picture");
  at("stage").style.width = `min(100%, ${Math.max(wide, SMALL)}px, ${Math.round(75 * wide / high)}vh)`;
}

export function toggle() {
  at("map").checked = !at("map").checked;
  look();
}

function look() {
  const on = at("map").checked;
  at("overlay").hidden = !on || !at("overlay").src;
  at("overlay").style.opacity = at("strength").value / 100;
  at("boxes").hidden = !on;
}

// Shows an item, or what has become known of it since.
export function show(item) {
  at("one").hidden = !item;
  if (!item) { now = null; return; }
  const { said, kind } = verdict(item);
  at("name").textContent = item.name;
  at("verdict").replaceChildren(said, item.answer ? make("small", scored(item.answer)) : "");
  at("verdict").className = kind;
  at("chance").textContent = item.answer ? chance(item.answer, about) : item.fault ?? "";
  scale(item.answer);
  if (now !== item) { now = item; fresh(item); }
  words(item);
  if (item.answer && (about.maps || about.explains) && !item.drawn) more(item);
}

const scored = answer => answer.threshold === null ? `score ${figure(answer.score)}`
  : `score ${figure(answer.score)}, ${answer.anomalous ? "over" : "within"} the limit of ${figure(answer.threshold)}`;

function scale(answer) {
  at("scale").replaceChildren();
  if (!answer || about.threshold === null) return;
  const ends = make("div", "", { className: "ends" });
  ends.append(make("span", "usual"), make("span", `limit ${figure(about.threshold)}`), make("span", "unusual"));
  at("scale").append(bar(answer), ends);
}

// Forgets the picture before, and fetches this one.
async function fresh(item) {
  URL.revokeObjectURL(url);
  for (const id of ["picture", "overlay"]) at(id).removeAttribute("src");
  at("overlay").hidden = at("why").hidden = true;
  at("boxes").replaceChildren();
  at("caption").textContent = "";
  item.drawn = false;
  try {
    const found = await address(item);
    if (now !== item) { URL.revokeObjectURL(found); return; }
    at("picture").src = url = found;
  } catch (error) {
    if (now === item && !item.fault) at("caption").textContent = `The picture cannot be shown: ${error.message}`;
  }
}

// Asks where and why it is unusual.
async function more(item) {
  item.drawn = true;
  try {
    const found = await mapped(item, about);
    if (now !== item) return;
    if (about.maps) overlaid(item, found);
    if (found.explanation) explained(item, found);
  } catch (error) {
    if (now === item) at("caption").textContent = `Where it is unusual cannot be shown: ${error.message}`;
  }
}

async function explained(item, { sides, explanation: { sentences, regions } }) {
  at("why").hidden = false;
  at("sentences").replaceChildren(...sentences.map(said => make("li", said)));
  at("alike").hidden = true;
  const nearest = regions[0]?.nearest;
  if (!nearest) return;
  try {
    const found = await goodAddress(nearest);
    if (now !== item) { URL.revokeObjectURL(found); return; }
    URL.revokeObjectURL(good);
    const image = at("good-picture");
    image.src = good = found;
    at("good-box").hidden = !nearest.at && !(item.answer.regions?.length && sides);
    if (nearest.at) await image.decode().then(() => outline(at("good-box"), marked(nearest.at), [image.naturalWidth, image.naturalHeight]));
    else if (!at("good-box").hidden) outline(at("good-box"), item.answer.regions[0].box, sides);
    const name = nearest.name ?? nearest.number;
    at("good-name").textContent = nearest.at
      ? `The good place that is most alike, with its surroundings: ${name}, at ${nearest.at.join(",")}`
      : `The good picture that is most alike there: ${name}`;
    at("alike").hidden = false;
  } catch {
    // its file is gone: the words do without
  }
}

// The box around a place, in the picture of its surroundings.
const marked = place => [...place.map(start => Math.max(Math.min(start, AROUND) - 8, 0)), 24, 24];

function overlaid(item, found) {
  const [wide, high] = found.sides, [left, top, width, height] = found.overlay_box;
  spread(at("overlay"), [left / wide, top / high, width / wide, height / high]);
  at("overlay").src = `data:image/png;base64,${found.overlay_png}`;
  at("boxes").replaceChildren(...(item.answer.regions ?? []).map((region, n) => {
    const box = make("div");
    outline(box, region.box, found.sides);
    box.append(make("b", String(n + 1)));
    return box;
  }));
  look();
}

function outline(element, [left, top, width, height], [wide, high]) {
  element.className = top / high < 0.08 ? "box low" : "box";
  spread(element, [left / wide, top / high, width / wide, height / high]);
}

function spread(element, [left, top, width, height]) {
  const percent = share => `${100 * share}%`;
  Object.assign(element.style, { left: percent(left), top: percent(top), width: percent(width), height: percent(height) });
}

function words(item) {
  const answer = item.answer, regions = answer?.regions ?? [];
  const where = regions.length ? `; ${several(regions.length, "part of it is", "parts of it are")} marked, listed below` : "";
  at("picture").alt = `The picture ${item.name}: ${verdict(item).said.slice(2)}${where}`;
  at("overlay").alt = "";
  at("regions").hidden = !regions.length;
  at("places").replaceChildren(...regions.map(region => make("li", place(region))));
  at("made").hidden = !answer;
  if (answer) at("numbers").replaceChildren(numbers(answer), ...(regions.length ? [make("h3", "Parts of the picture"), areas(regions)] : []));
  at("show").hidden = !about.maps || sort(item) === "fault";
}

function table(rows) {
  const found = document.createElement("table");
  for (const cells of rows) {
    const row = document.createElement("tr");
    cells.forEach((said, n) => row.append(make("td", said, { className: n ? "number" : "" })));
    found.append(row);
  }
  return found;
}

const numbers = answer => table([
  ["Score", figure(answer.score)],
  ...(answer.threshold === null ? [] : [["Limit", figure(answer.threshold)], ["Share of good pictures at least as unusual (p-value)", figure(answer.p_value)]]),
  ...Object.entries(answer.layers).map(([name, value]) => [part(name), figure(value)]),
]);

const areas = regions => table([
  ["", "pixels", "largest", "mean"], ...regions.map((region, n) => [String(n + 1), String(region.area), figure(region.peak), figure(region.mean)]),
]);
