// Asks the service. Waits where it is busy, asks for the key where it wants one.

const KEY = "mocca key", TRIES = 120, OF_PRODUCT = ["score", "shown", "queue", "good"];  // what is asked of one product
let key = sessionStorage.getItem(KEY) ?? "", product = "", asking = null;

export const choose = name => { product = name; };

const pause = seconds => new Promise(done => setTimeout(done, 1000 * seconds));

function givenKey() {
  asking ??= new Promise(done => {
    const dialog = document.getElementById("key"), given = document.getElementById("key-given");
    if (key) document.getElementById("key-why").textContent = "The service does not take this key.";
    given.value = "";
    dialog.onclose = () => {
      if (!given.value) { dialog.showModal(); return; }
      key = given.value;
      sessionStorage.setItem(KEY, key);
      asking = null;
      done();
    };
    dialog.showModal();
  });
  return asking;
}

export async function ask(path, { parameters = {}, ...options } = {}) {
  const query = new URLSearchParams({ ...parameters, ...(product && OF_PRODUCT.includes(path.split("/")[0]) && { product }) }).toString();
  for (let tried = 0; ; tried++) {
    const used = key;
    let answer;
    try {
      answer = await fetch(query ? `${path}?${query}` : path, { ...options, headers: key ? { "X-API-Key": key } : {} });
    } catch {
      throw new Error("the service does not answer; is it still running?");
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      if (used === key) await givenKey();
    } else if (answer.status === 503 && tried < TRIES) {
      await pause(Number(answer.headers.get("Retry-After")) || 1);
    } else {
      const told = await answer.json().catch(() => ({}));
      throw Object.assign(new Error(told.detail ?? `status ${answer.status}`), { status: answer.status });
    }
  }
}

export const asJson = async (path, options) => (await ask(path, options)).json();

// Some things at a time, in order.
export function queue(most) {
  const waiting = [];
  let running = 0;
  const next = async () => {
    if (running >= most || !waiting.length) return;
    running++;
    try { await waiting.shift()(); } finally { running--; next(); }
  };
  return work => { waiting.push(work); next(); };
}
