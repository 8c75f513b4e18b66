"""What files look like that cannot be read as a picture, in the words of those who have them. Bytes in, words out."""

import re

READ_AS_TEXT = "a file that was read as text on its way"
STARTS = {
    b"\x89PNG\n\x1a\n": "a PNG whose line ends were changed on its way, as a transfer in text mode does",
    b"\xef\xbf\xbdPNG": READ_AS_TEXT,
    b"\xc2\x89PNG": READ_AS_TEXT,
    b"\xef\xbf\xbd" * 3: READ_AS_TEXT,
    b"\xc3\xbf\xc3\x98\xc3\xbf": READ_AS_TEXT,
    b"%PDF-": "a PDF document",
    b"%!PS": "PostScript",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip-compressed file",
    b"BZh": "a bzip2-compressed file",
    b"\xfd7zXZ": "an xz-compressed file",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x93NUMPY": "an array of NumPy",
    b"\x1aE\xdf\xa3": "a film",
}
# Of pictures, as far as `curl -d` leaves them: it takes out line ends and zeros.
MANGLED = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*", b"MM", b"RIFF")
TEXTS = (  # patterns of how a text starts; capitals do not matter
    (r"data:", "a data: URL"),
    (r"\s*<([?!].*<)?svg\b", "an SVG drawing"),
    (r"\s*<(!doctype )?html\b", "an HTML page"),
    (r"\s*<\?xml\b", "an XML document"),
    (r"\s*[\[{\"]", "a JSON document"),
    (r"--.*content-disposition:", "a form whose Content-Type header does not say so; let the client write that header"),
    (r"\w+://\S+\s*\Z", "an address, and nothing is fetched from there"),
    (r"[^\n=]+\.(png|jpe?g|tiff?|bmp|webp|gif)\s*\Z", "the name of a file"),
)
HEAD = 1000  # characters of a text that are matched with these
LEAST = 32  # characters of what is taken for base64 or hexadecimal digits


def looks_like(body: bytes) -> str:
    """In words, with an article; empty where nothing is known.

    Example:
        >>> looks_like(b"data:image/png;base64,iVBORw0KGgo="), looks_like(b"%PDF-1.7 ..."), looks_like(b"file=abc")
        ('a data: URL', 'a PDF document', 'a urlencoded form')
    """
    for start, name in STARTS.items():
        if body.startswith(start):
            return name
    if body[4:8] == b"ftyp":
        return "a HEIC photograph" if body[8:10] in (b"he", b"mi") else "a film"
    if body.startswith(MANGLED) and not re.search(rb"[\r\n\0]", body):
        return "a file without its line ends, which curl -d takes out"
    text = _text(body)
    return _of_text(text) if text else ""


def _text(body: bytes) -> str:
    """The body as text, empty where it is none."""
    try:
        text = body.decode("utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        return ""
    return text if all(c.isprintable() or c.isspace() for c in text[:HEAD]) else ""


def _of_text(text: str) -> str:
    for pattern, name in TEXTS:
        if re.match(pattern, text[:HEAD], re.IGNORECASE | re.DOTALL):
            return name
    packed = re.sub(r"\s", "", text)
    if len(packed) >= LEAST and re.fullmatch(r"(0x)?[0-9a-fA-F]+", packed):
        return "hexadecimal digits"
    if len(packed) >= LEAST and re.fullmatch(r"[A-Za-z0-9+/_-]+={0,2}", packed):
        return "base64 text"
    if re.match(r"[\w.%\[\]-]{1,100}=", text):
        return "a urlencoded form"
    return "text"
