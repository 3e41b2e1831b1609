import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from components.core.report.figures import bars
from components.core.report.page import (
    Callout,
    Cell,
    Columns,
    Details,
    Image,
    Log,
    Section,
    Tile,
    Tiles,
    facts,
    figure,
    render_page,
    sample_grid,
    table,
    text,
    write_page,
)

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&"
PIXEL = {"image_base64": "aGVsbG8=", "media_type": "image/png"}


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag


def everything(content):
    """A page with `content` in every place that takes text from outside."""
    sample = {**PIXEL, "label": content, "candidate": content + "?", "baseline": content}
    return render_page(
        content,
        [
            Section(content, [text(content), Callout(content, content, "bad"), Log(content)], note=content),
            Section("tiles", Tiles((Tile(content, content, content, content),))),
            Section("table", table([content], [[content], [Cell(content, content)]], caption=content)),
            Section("facts", facts({content: content})),
            Section("figure", Columns((figure(bars({content: 1.0}, title=content), content),))),
            Section("samples", Details(content, (sample_grid([sample], caption=content),))),
        ],
        eyebrow=content,
        lead=content,
        footer=content,
    )


def test_text_from_outside_never_becomes_markup():
    harmless, evil = Elements(everything("x")).found, Elements(everything(EVIL)).found
    assert [tag for tag, _ in evil] == [tag for tag, _ in harmless]
    assert not any(name.startswith("on") for _, attributes in evil for name in attributes)
    assert "&lt;script&gt;" in everything(EVIL)


def test_a_page_loads_nothing_and_forbids_it():
    html = everything("x")
    elements = Elements(html).found
    loads = [
        (tag, name, value)
        for tag, attributes in elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action") and not value.startswith(("#", "data:"))
    ]
    assert loads == []
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in elements}
    assert not re.search(r"url\(|@import|https?://", html)
    policy = next(a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy


def test_a_short_page_needs_no_script():
    html = render_page("t", [Section(name, text("x")) for name in "abc"])
    assert "<script" not in html
    assert "script-src" not in html


def test_plain_text_is_refused_as_a_figure():
    with pytest.raises(TypeError, match="got str"):
        figure("<svg></svg>")


@pytest.mark.parametrize(
    ("media_type", "data"),
    [("image/svg+xml", "aGVsbG8="), ("image/png", 'x" onerror="alert(1)'), ("text/html", "aa==")],
)
def test_only_pixels_in_base64_are_embedded(media_type, data):
    with pytest.raises(ValueError, match=r"media type|not base64"):
        Image(title="x", base64=data, media_type=media_type)


def test_numeric_columns_are_set_flush_right_and_words_are_not():
    shown = table(["class", "recall", "size", "note"], [["a", "91.2 %", 12, "−"], ["b", None, 1234567, "4 of 5"]])
    assert shown.numeric == (False, True, True, False)
    assert shown.rows[1] == ("b", "–", "1,234,567", "4 of 5")


def test_a_row_of_another_length_is_refused_by_its_number():
    with pytest.raises(ValueError, match="row 1 has 1 values for 2 columns"):
        table(["a", "b"], [[1, 2], [3]])


def test_a_sample_says_what_was_mistaken_and_outlines_only_the_candidates_error():
    right = {**PIXEL, "label": "cat", "candidate": "cat", "baseline": "dog"}
    wrong = {**PIXEL, "label": "cat", "candidate": "cow", "baseline": "cat"}
    first, second = sample_grid([right, wrong]).images
    assert (first.lines, first.wrong) == (("baseline: dog",), False)
    assert (second.lines, second.wrong) == (("candidate: cow",), True)


def test_a_page_is_written_into_a_new_folder_even_with_a_file_name_that_is_no_unicode(tmp_path):
    target = tmp_path / "new" / "page.html"
    write_page(target, "title", [Section("files", table(["file"], [["\udcff.jpg"]]))])
    assert "<td>?.jpg</td>" in target.read_text(encoding="utf-8")


def test_buttons_lead_to_the_sections_and_nothing_is_a_link():
    html = render_page("t", [Section(name, text("x")) for name in "abcd"])
    targets = set(re.findall(r'id="(s\d)"', html))
    assert set(re.findall(r'<button type="button" value="(s\d)"', html)) == targets == {"s1", "s2", "s3", "s4"}
    # In the srcdoc frame of the KFP UI a link to "#s1" is resolved against the UI's address, and the page is gone.
    assert "href=" not in html


def test_markup_from_elsewhere_goes_in_as_it_is():
    assert "<svg><g/></svg>" in render_page("t", [Section("s", figure(Markup("<svg><g/></svg>")))])


def test_what_must_be_said_of_the_data_follows_the_lead(tmp_path):
    for lead, expected in (("mIoU 44 %.", "mIoU 44 %. Data: synthetic scenes."), ("", "Data: synthetic scenes.")):
        write_page(tmp_path / "page.html", "Title", [], lead=lead, data="synthetic scenes")
        assert f">{expected}<" in (tmp_path / "page.html").read_text()
    write_page(tmp_path / "page.html", "Title", [], lead="mIoU 44 %.")
    assert "Data:" not in (tmp_path / "page.html").read_text()
