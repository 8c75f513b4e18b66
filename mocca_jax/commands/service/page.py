"""The page of the interface, to read and to try: made of the OpenAPI document, without anything from another host."""

import re
from html import escape
from typing import Any
from urllib.parse import quote

from mocca_jax.commands.service.asking import FIELD, KEY, WITH_KEY
from mocca_jax.report.page import STYLE

# What a browser may load for the page: nothing but what is written in it, and this service's answers.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data: blob:"
)
OWN_STYLE = """
td { text-align: left; vertical-align: top } td:first-child { white-space: nowrap } code { background: #f5f5f5 }
h3 { font-size: 1rem; margin-bottom: .3rem }
form { background: #f5f5f5; padding: 1rem; display: flex; gap: 1rem; flex-wrap: wrap; align-items: center }
#said { font-size: 1.1rem; font-weight: 600 } #seen img { width: 20rem; image-rendering: pixelated }
"""
WHERE = '<label><input type="checkbox" id="map" checked> show where</label>'
TRY = f"""
<h2>Try it</h2>
<p>Choose a picture of the kind that the model was trained on.</p>
<form>
<input type="file" name="{FIELD}" accept="image/*" required aria-label="picture file">
{{where}}
<button>Judge this picture</button>
</form>
<p id="said" role="status"></p><div id="seen" class="pair"></div><pre id="raw" hidden></pre>
"""
SCRIPT = """
const at = id => document.getElementById(id), form = document.querySelector("form");
const show = (url, caption) => {
  const figure = document.createElement("figure"), image = document.createElement("img"),
    text = document.createElement("figcaption");
  image.src = url; image.alt = text.textContent = caption; figure.append(image, text); at("seen").append(figure);
};
const verdict = found => {
  const p = found.p_value === null ? "" : `, p-value ${found.p_value.toPrecision(2)}`;
  const said = found.anomalous === null ? "No decision: nothing was held out in training"
    : found.anomalous ? "Anomalous" : "Not anomalous";
  return `${said} (score ${found.score.toPrecision(4)}${p})`;
};
form.onsubmit = async event => {
  event.preventDefault();
  at("said").textContent = "..."; at("seen").replaceChildren(); at("raw").hidden = true;
  const file = form.elements.FIELD.files[0], body = new FormData();
  body.append("FIELD", file);
  try {
    const asked = new URLSearchParams(), product = form.elements.product?.value;
    if (at("map")?.checked) asked.set("map", "true");
    if (product) asked.set("product", product);
    const answer = await fetch(`score?${asked}`, {method: "POST", body});
    const found = await answer.json();
    at("said").textContent = answer.ok ? verdict(found) : `No answer (${answer.status}): ${found.detail}`;
    if (!answer.ok) return;
    show(URL.createObjectURL(file), "the picture");
    if (found.map_png) {
      show("data:image/png;base64," + found.map_png, "what is unusual about it, on what the model sees of it");
      found.map_png = found.map_png.slice(0, 20) + "...";
    }
    at("raw").textContent = JSON.stringify(found, null, 2); at("raw").hidden = false;
  } catch (error) { at("said").textContent = `No answer: ${error.message}`; }
};
""".replace("FIELD", FIELD)


def html(interface: dict[str, Any], address: str, maps: bool, key: bool, products: list[str]) -> str:
    """The page.

    Args:
        interface: the OpenAPI document.
        address: of the service, without a slash at its end.
        maps: whether the model has anomaly maps.
        key: whether requests have to bring one.
        products: their names.
    """
    about, schemas = interface["info"], interface["components"]["schemas"]
    parts = [
        f"<h1>{escape(about['title'])} {escape(about['version'])}</h1>",
        f'<p class="lead">{_text(about["description"])}</p>',
        TRY.format(where=(WHERE if maps else "") + _choice(products)),
        "<h2>Ask it from a shell or a program</h2>",
        f"<pre>{escape(_lines(address, key, products))}</pre>",
    ]
    for path, operations in interface["paths"].items():
        for method, operation in operations.items():
            parts += _operation(f"{method.upper()} {path}", operation, schemas)
    parts.append('<p>The same for programs: <a href="openapi.json">openapi.json</a></p>')
    title, style = f"{escape(about['title'])}: the service", STYLE + OWN_STYLE
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{style}</style><body>{''.join(parts)}<script>{SCRIPT}</script></body></html>"
    )


def _choice(products: list[str]) -> str:
    """What a browser asks where there are several."""
    if len(products) == 1:
        return ""
    options = "".join(f"<option>{escape(name)}</option>" for name in products)
    return f'<label>product <select name="product">{options}</select></label>'


def _lines(address: str, key: bool, products: list[str]) -> str:
    once, also = (
        ("", "") if len(products) == 1 else (f"?product={quote(products[0])}", f"&product={quote(products[0])}")
    )
    curl, headers, given = ("curl", "", "")
    if key:
        curl, headers, given = (
            f"curl {WITH_KEY}",
            f'headers = {{"X-API-Key": os.environ["{KEY}"]}}\n',
            ", headers=headers",
        )
    return (
        f"{curl} -F {FIELD}=@picture.png '{address}/score{once}'\n"
        f"{curl} --data-binary @picture.png '{address}/score?map=true{also}'\n\n"
        f"import {'os, ' * key}requests\n{headers}"
        f'requests.post("{address}/score{once}", files={{"{FIELD}": open("picture.png", "rb")}}{given}).json()\n'
        f'requests.post("{address}/score{once}", data=open("picture.png", "rb"){given}).json()'
    )


def _operation(name: str, operation: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    """What is asked, what is sent, what comes back."""
    parts = [f"<h2><code>{escape(name)}</code></h2><p>{_text(operation['description'])}</p>"]
    asked = [parameter for parameter in operation.get("parameters", []) if parameter["in"] == "query"]
    rows = [(f"?{p['name']}=", _type(p["schema"]), p.get("description", "")) for p in asked]
    parts += _table("Parameters, in the address", rows)
    if body := operation.get("requestBody"):
        sent = [(kind, _sent(content["schema"])) for kind, content in body["content"].items()]
        parts += [f"<p>{_text(body['description'])}</p>", *_table("Body, by its Content-Type", sent)]
    for status, answer in operation["responses"].items():
        described = answer["content"] if status == "200" else {}
        if "application/json" in described:
            schema = schemas[answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
            fields = [(f, _type(s), s.get("description", "")) for f, s in schema["properties"].items()]
            parts += _table("Answer, JSON", fields)
    refused = [(s, answer["description"]) for s, answer in sorted(operation["responses"].items()) if s != "200"]
    return parts + _table('Refused with a status and {"detail": why}', refused)


def _table(title: str, rows: list[tuple[str, ...]]) -> list[str]:
    cells = ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows]
    return [f"<h3>{escape(title)}</h3><table>", *[f"<tr>{row}</tr>" for row in cells], "</table>"] if rows else []


def _sent(schema: dict[str, Any]) -> str:
    fields = [f"field `{name}`: {about['description']}" for name, about in schema.get("properties", {}).items()]
    return ", ".join(fields) or "the file's bytes as they are; any other Content-Type is read so too"


def _type(schema: dict[str, Any]) -> str:
    return " or ".join(choice.get("type", "object") for choice in schema.get("anyOf", [schema]))


def _text(words: str) -> str:
    """Escaped, with `code` as such."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(words))
