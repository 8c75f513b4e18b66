// Where a picture's pixels come from: a file that was dropped, or the service's watched folder.

import { ask, asJson, queue } from "./ask.js";

const SMALL = 112;
const later = queue(2);

const given = item => ({ method: "POST", body: item.file });

export const judged = item => asJson("score", given(item));

// The answer with its map and with why it is so, where there are such; asked for once.
export function mapped(item, { maps, explains }) {
  const parameters = { ...(maps && { overlay: true }), ...(explains && { explain: true }) };
  item.mapped ??= (item.file ? asJson("score", { ...given(item), parameters }) : asJson(`watched/${item.number}`))
    .catch(error => { item.mapped = null; throw error; });
  return item.mapped;
}

// What a browser can show.
async function blob(item, side) {
  if (!item.file) return (await ask(`watched/${item.number}/picture`, side ? { parameters: { side } } : {})).blob();
  try {
    (await createImageBitmap(item.file)).close();
    return item.file;
  } catch {
    item.shown ??= ask("shown", given(item)).then(answer => answer.blob());
    return item.shown;
  }
}

export const address = async item => URL.createObjectURL(await blob(item));

// Of a good picture, or of what lies around a place of it.
export async function goodAddress({ number, at }) {
  const parameters = at ? { left: at[0], top: at[1] } : {};
  return URL.createObjectURL(await (await ask(`good/${number}`, { parameters })).blob());
}

// Draws it small, when it comes into sight.
const sight = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    sight.unobserve(target);
    later(() => draw(target, target.item).catch(() => {}));
  }
});

async function draw(canvas, item) {
  const bitmap = await createImageBitmap(await blob(item, SMALL), { resizeHeight: SMALL, resizeQuality: "medium" });
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

export function small(item) {
  const canvas = document.createElement("canvas");
  canvas.className = "thumb";
  canvas.item = item;
  sight.observe(canvas);
  return canvas;
}

export const named = files => [...files].map(file => ({ file, name: file.name }));

// The files of what was dropped, and their names; those in folders too.
export async function dropped(transfer) {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some(entry => entry.isDirectory)) return named(transfer.files);
  const found = [];
  for (const entry of entries) await gather(entry, found);
  return found;
}

async function gather(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((done, failed) => entry.file(done, failed));
    found.push({ file, name: entry.fullPath.slice(1) });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const inside = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!inside.length) return;
    for (const each of inside) await gather(each, found);
  }
}
