"""HTML read as text: what a person wrote stays readable, and nothing makes it slow."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailforum.mail.html import to_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("a &amp; b &uuml; &#8364; &nbsp; c", "a & b ü € c"),
        ("<p>one\n two</p><p>three</p>", "one two\n\nthree"),
        ("<div>one</div><div>two</div><div><br></div><div>three</div>", "one\ntwo\n\nthree"),
        ("one<br>two<br/>three<BR />four", "one\ntwo\nthree\nfour"),
        ("a<b>b</b>c <i>d</i>", "abc d"),
        ("<ul><li>a<li>b<ul><li>c</ul></ul><p>d", "- a\n- b\n  - c\n\nd"),
        ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><th>c</th></tr></table>", "a b\nc"),
        ("<pre>\ndef f():\n    pass\n\n\nx\n</pre>y", "def f():\n    pass\n\n\nx\n\ny"),
        ("a<blockquote>b<p>c<blockquote>d</blockquote></blockquote>e", "a\n\n> b\n>\n> c\n>\n> > d\n\ne"),
        ("a<hr>b", "a\n\nb"),
        ("<h1>Title</h1>text", "Title\n\ntext"),
        ("1 < 2 & 3 > 2, <3", "1 < 2 & 3 > 2, <3"),
        ('<font face="x>stray quote</font> text', "stray quote text"),
        ('<img src="http://t.example/pixel.gif"><img alt="a cat" src=x>', "[a cat]"),
        ("<p title='a > b'>x</p>", "x"),
        ("<o:p>&nbsp;</o:p>x", "x"),
    ],
)
def test_html_becomes_the_text_one_reads(html, text):
    assert to_text(html) == text


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>alert(1)</script>",
        "<SCRIPT type=x>a<b>c</ScRiPt >",
        "<style>p { color: red }</style>",
        "<head><title>t</title></head>",
        "<!-- a > b <p> -->",
        "<!--[if mso]><p>x</p><![endif]-->",
        "<!DOCTYPE html>",
        "<?xml version='1.0'?>",
        "<![CDATA[x]]>",
    ],
)
def test_what_is_not_text_is_left_out(hidden):
    assert to_text(f"a{hidden}b").replace("\n", "").replace(" ", "") == "ab"


def test_what_is_never_closed_is_left_out_to_the_end():
    assert to_text("a<script>b<p>c") == "a"
    assert to_text("a<!-- b<p>c") == "a"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="https://x.example/p?a=1&amp;b=2">here</a>.', "here <https://x.example/p?a=1&b=2>."),
        ("<a href='https://x.example/'>https://x.example</a>", "https://x.example"),
        ("<a href=https://x.example/>x.example</a>", "x.example"),
        ('<a href="mailto:a@x.example">a@x.example</a>', "a@x.example"),
        ('<a href="javascript:alert(1)">x</a>', "x"),
        ('<a href="https://evil.example/">https://bank.example</a>', "https://bank.example <https://evil.example/>"),
        (
            '<a href="https://x.example/a">one<a href="https://x.example/b">two</a>',
            "one <https://x.example/a>two <https://x.example/b>",
        ),
        ('<a href="https://x.example/"><img src=y></a>z', "z"),
        ('<a href="https://x.example/&#10;&#13;Bcc: y">x</a>', "x <https://x.example/ Bcc: y>"),
        ('<a href="https://x.example/%s">x</a>' % ("y" * 1000), "x"),
    ],
)
def test_a_link_shows_where_it_leads(html, text):
    assert to_text(html) == text


TAGS = ["<p>", "</", "<a href=", "<ul><li>", "</ul>", "<pre>", "</pre>", "<blockquote>", "<!--", "<style>"]
PIECES = st.lists(st.sampled_from([*TAGS, "<", ">", "https://x", '"', "'", "\n", "x", "&lt;", "=", " "])).map("".join)


@given(st.one_of(st.text(), PIECES))
def test_no_html_raises(html):
    assert isinstance(to_text(html), str)


@given(st.text("abc xyz.,!", max_size=100))
def test_words_stay_as_they_are(text):
    assert to_text(text) == " ".join(text.split())


OPEN = [
    "<div>",
    "<br>",
    "<p>x",
    "<b a=1>",
    "<a href=http://x>x",
    "<blockquote>x",
    "<ul><li>x",
    "<table>",
    "<td>",
    "<style>",
]
BROKEN = [
    "<!--",
    "<style",
    "</style",
    "<a '",
    "<a \"'",
    '<a "x"x"',
    "<a x='>'",
    "</",
    "<",
    "<!",
    "<title><",
    '<img alt="',
    "<a  ",
]
OTHER = ["&", "&amp", "<pre>\n", "\xa0", "</pre></a>", "\n", "a "]


@pytest.mark.parametrize("html", [*OPEN, *BROKEN, *OTHER])
def test_a_million_tags_are_read_in_no_time(html):
    start = time.process_time()
    to_text(html * 1_000_000)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("attributes", ["x " * 500_000, "'" * 500_000, "href=1 " * 500_000, "href" + " " * 500_000])
def test_a_tag_full_of_attributes_is_read_in_no_time(attributes):
    start = time.process_time()
    to_text(f"<a {attributes}>x</a>")
    assert time.process_time() - start < 1
