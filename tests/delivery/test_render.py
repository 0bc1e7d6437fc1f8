import re
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser as HTMLParser

from mailforum import log
from mailforum.delivery.render import (
    WIDTH,
    Texts,
    fill,
    fold,
    linked,
    one_line,
    package_folder,
    prefixed,
    shell,
    unquoted,
)
from mailforum.delivery.samples import SAMPLES
from mailforum.delivery.views import (
    DigestPost,
    DigestThread,
    ListView,
    date_text,
    digest_post,
    digest_values,
    size_text,
)
from mailforum.mail.body import Attachment, Block, Body
from mailforum.model import MailingList, Post
from mailforum.settings import ListSettings

MLIST = MailingList(1, "pmo@lists.example.org", "Project Management Office", ListSettings(), 0.0)
POST = Post(9, 1, 48, "48.3", None, None, "<a@b>", "ann@example.org", "", "Hi", 1_763_820_300.0, 0.0, 10)
COMMON = {"site": "lists.example.org", "list": ListView.of(MLIST), "to": "bob@example.com"}
MAILS = sorted(
    str(path.relative_to(package_folder() / "en").with_suffix(""))
    for path in (package_folder() / "en").rglob("*/*.txt")
)
PAGES = ["page/invalid", "page/leave", "page/left"]
NASTY = "{{ 7 * 7 }}{% raw %}\r\nBcc: eve@example.net\r\n\r\n<script>alert(1)</script> & \"'"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path


def _write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _render(name: str, folders: tuple[Path, ...] = (), language="en", list_name="pmo", **values):
    return Texts(folders).render(name, language, list_name, {**SAMPLES[name], **COMMON, **values})


def test_every_text_of_the_package_has_a_sample_and_every_sample_a_text():
    assert sorted(SAMPLES) == sorted(MAILS + PAGES)


@pytest.mark.parametrize("name", MAILS)
def test_every_text_can_be_made_has_a_subject_and_fits_its_width(name):
    rendered = _render(name)
    assert [header for header, _ in rendered.headers] == ([] if name.startswith("post/") else ["Subject"])
    assert max(map(len, rendered.text.split("\n"))) <= WIDTH
    assert rendered.text.isascii()
    assert not rendered.text.startswith("\n") and rendered.text.endswith("\n")
    assert "\n\n\n\n" not in rendered.text


@pytest.mark.parametrize("name", [n for n in MAILS if n.startswith("notice/")])
def test_no_notice_shouts_or_speaks_in_jargon(name):
    rendered = _render(name)
    words = (rendered.text + rendered.headers[0][1]).lower()
    assert not re.search(r"!!|\b(subscri|token|queue|smtp|bounce|daemon|invalid|abort|mta\b)", words)
    assert not re.search(r"\b[A-Z]{4,}\b", rendered.text.replace("LIST", ""))


@pytest.mark.parametrize("name", ["notice/help", "notice/lists", "notice/results", "notice/refused", "notice/settings"])
def test_texts_of_the_site_need_no_list(name):
    rendered = _render(name, list_name="", list=None)
    assert "lists.example.org" in rendered.text
    assert "None" not in rendered.text


@pytest.mark.parametrize("action", ["join", "leave", "set"])
def test_a_request_for_confirmation_says_first_what_to_do_and_that_ignoring_it_is_safe(action):
    rendered = _render("notice/confirm", action=action, mode="digest", days=1)
    for text in (rendered.text, HTMLParser(rendered.html).text()):
        words = " ".join(text.split())
        assert "Reply to this mail, just as it is, to" in words[:400]
        assert "Somebody, perhaps not you, asked" in words
        assert "nothing will happen" in words
        assert "after 1 day." in words
        assert ("one mail a day" in words) == (action != "leave")
    assert rendered.text.startswith("Reply to this mail, just as it is, to")


@pytest.mark.parametrize(
    ("mode", "hint"), [("each", "set digest daily"), ("digest", "set digest off"), ("none", "set mail on")]
)
def test_a_welcome_names_the_way_out_and_the_other_way_to_read(mode, hint):
    rendered = _render("notice/welcome", mode=mode)
    for text in (rendered.text, HTMLParser(rendered.html).text()):
        assert hint in text
        assert "pmo-leave@lists.example.org" in text
        assert "pmo-help@lists.example.org" in text


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"joining": "open"}, "Anybody may join"),
        ({"joining": "moderated"}, "A moderator decides"),
        ({"joining": "closed"}, "cannot join this list by mail|cannot join by mail"),
        ({"posting": "anyone"}, "Anybody may write"),
        ({"posting": "moderators"}, "Only moderators may write"),
        ({"nonmembers": "hold"}, "Mail from others waits"),
        ({"moderated": True}, "reads every mail before"),
    ],
)
def test_the_settings_of_a_list_are_told_in_sentences(setting, said):
    view = ListView.of(replace(MLIST, settings=ListSettings(**setting)))
    text = " ".join(_render("notice/info", list=view, description="About money.").text.split())
    assert re.search(said, text)
    assert "About money." in text


def test_the_outcome_of_each_command_is_told_in_a_sentence_of_its_own():
    outcomes = [["join", "asked", ""], ["fly\nme", "refused", "The moon is closed."], ["dance", "new-code", ""]]
    text = _render("notice/results", outcomes=outcomes).text
    assert "  > join\n    We sent you a mail." in text
    assert "  > fly\n  > me\n    The moon is closed.\n" in text
    assert "  > dance\n    new-code\n" in text


@pytest.mark.parametrize(("mode", "said"), [("each", "every mail"), ("digest", "one mail a day"), ("none", "no mail;")])
def test_how_somebody_reads_is_told_in_the_same_words_everywhere(mode, said):
    for text in (
        _render("notice/changed", mode=mode).text,
        _render("notice/confirm", action="set", mode=mode).text,
        _render("notice/settings", rows=[["pmo@lists.example.org", mode, "active"]]).text,
    ):
        assert said in text


def test_a_member_whose_mail_came_back_reads_how_to_get_it_again():
    rows = [["a@example.org", "each", "active"], ["b@example.org", "each", "bouncing"]]
    text = _render("notice/settings", rows=rows).text
    assert text.count("came back") == 1
    assert 'write "set mail on"\n        to b-request@example.org' in text
    assert "is on no list here" in _render("notice/settings", rows=[]).text


def test_the_page_of_the_unsubscribe_link_asks_before_anything_happens(own):
    texts = Texts([own])
    page = HTMLParser(texts.page("leave"))
    assert page.css_first("form").attributes == {"method": "post"}
    assert page.css_first("title").text() == "Leave the list?"
    assert page.css("script, img, link") == []
    assert not any(HTMLParser(texts.page(name)).css("form") for name in ("left", "invalid"))
    with pytest.raises(LookupError):
        texts.page("enter")
    _write(own, "en/page/left.html", "<p>{{ nothing }}</p>")
    assert "You have left the list" in texts.page("left")
    assert "nothing" in texts.check()[0]


def test_a_list_without_a_title_is_called_by_its_name():
    view = ListView.of(replace(MLIST, title=""))
    assert view.title == "pmo"
    assert (view.join, view.owner) == ("pmo-join@lists.example.org", "pmo-owner@lists.example.org")


def test_an_unknown_text_is_our_own_mistake_even_if_an_admin_has_one(own):
    _write(own, "en/notice/dance.txt", "Subject: x\n\nx\n")
    with pytest.raises(LookupError, match="notice/dance"):
        Texts([own]).render("notice/dance", "en", "pmo", COMMON)


# ------------------------------------------------------------------ what members write stays text


@pytest.mark.parametrize("name", ["notice/held", "notice/rejected", "owner/held"])
def test_what_a_member_wrote_makes_no_header_and_is_no_template(name):
    rendered = _render(name, subject=NASTY, who=NASTY, reason="Because.", excerpt=NASTY)
    assert len(rendered.headers) == 1
    assert "\n" not in rendered.headers[0][1] and "\r" not in rendered.headers[0][1]
    assert "49" not in rendered.text
    assert "{{ 7 * 7 }}" in rendered.text
    if name != "owner/held":
        assert "{{ 7 * 7 }}{% raw %} Bcc: eve@example.net" in rendered.headers[0][1]


def test_an_included_text_cannot_bring_a_line_break_into_a_header_either(own):
    _write(own, "en/notice/_what.txt", "{{ subject }}")
    _write(own, "en/notice/held.txt", 'Subject: {% include "notice/_what.txt" %}\n\nHeld.\n')
    assert len(_render("notice/held", (own,), subject="x\nBcc: eve@example.net").headers) == 1


def test_html_shows_markup_of_members_as_they_wrote_it():
    thread = DigestThread("#1", NASTY, (_post(author=NASTY, lines=(NASTY, "https://a.example/?x=1&y='\"<b>")),))
    html = _render("digest/digest", **digest_values(1, 0.0, [thread], UTC)).html
    tree = HTMLParser(html)
    assert tree.css("script") == [] and tree.css("b") == [] and tree.css("img") == []
    assert tree.body.text().count("<script>alert(1)</script>") >= 3
    assert {link.attributes["href"] for link in tree.css("a[href^=http]")} == {"https://a.example/?x=1&y="}


@given(st.text(max_size=80))
def test_a_linked_line_reads_as_it_was_written_and_links_show_where_they_lead(line):
    line = one_line(line) + " https://example.org/a?b=<c>\"' " + one_line(line)
    tree = HTMLParser(f"<p>{linked(line)}</p>")
    assert "".join(tree.body.text().split()) == "".join(line.split())
    assert all(link.text() == link.attributes["href"] for link in tree.css("a"))


def test_markup_around_an_address_is_escaped():
    assert "<b>" not in linked("<b>https://example.org/<b>https://example.org/x<b>")


def test_punctuation_after_an_address_is_not_part_of_it():
    assert linked("(see https://example.org/x).") == (
        '(see <a href="https://example.org/x">https://example.org/x</a>).'
    )


def test_a_command_to_copy_runs_nothing_but_mailforum():
    text = _render("owner/join-request", address="$(reboot)@example.net").text
    assert "mailforum member add pmo@lists.example.org '$(reboot)@example.net'\n" in text
    assert shell("a\nb") == "'a b'"


@given(st.text())
def test_a_header_value_is_one_printable_line(text):
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", one_line(text))


# ------------------------------------------------------------------ overrides


def test_the_list_s_own_text_comes_before_the_site_s_and_that_before_the_package_s(own):
    _write(own, "en/notice/goodbye.txt", "Subject: Site\n\nFrom the site.\n")
    _write(own, "pmo/en/notice/goodbye.txt", "Subject: List\n\nFrom the list.\n")
    texts = Texts([own])
    values = {**SAMPLES["notice/goodbye"], **COMMON}
    assert texts.render("notice/goodbye", "en", "pmo", values).text == "From the list.\n"
    assert texts.render("notice/goodbye", "en", "crew", values).text == "From the site.\n"
    assert "come back" in texts.render("notice/goodbye", "de", "pmo", values).text


def test_an_edited_text_is_used_without_a_restart(own):
    import os

    texts = Texts([own])
    for number, words in enumerate(("One.", "Two.")):
        _write(own, "en/notice/goodbye.txt", f"Subject: x\n\n{words}\n")
        os.utime(own / "en/notice/goodbye.txt", (number, number))
        assert texts.render("notice/goodbye", "en", "pmo", COMMON).text == f"{words}\n"


def test_a_language_that_only_the_site_has_is_used_and_the_rest_comes_in_english(own):
    _write(own, "de/notice/goodbye.txt", "Subject: Auf Wiedersehen, {{ list.title }}\n\nTschüß, {{ to }}.\n")
    rendered = _render("notice/goodbye", (own,), language="de")
    assert rendered.headers == (("Subject", "Auf Wiedersehen, Project Management Office"),)
    assert rendered.text == "Tschüß, bob@example.com.\n"
    assert _render("notice/held", (own,), language="de").headers == _render("notice/held").headers


def test_a_text_without_html_of_its_own_is_not_sent_with_the_package_s_html(own):
    _write(own, "en/notice/welcome.txt", "Subject: Hi\n\nHi.\n")
    assert _render("notice/welcome", (own,)).html is None
    _write(own, "en/notice/welcome.html", "<p>Hi, {{ to }}</p>")
    assert _render("notice/welcome", (own,)).html == "<p>Hi, bob@example.com</p>"


def test_the_frame_of_all_html_can_be_overridden_alone(own):
    _write(own, "en/base.html", "<main>{% block content %}{% endblock %}</main>")
    assert _render("notice/welcome", (own,)).html.startswith("<main>")


def test_the_footer_is_a_body_only_and_can_be_overridden(own):
    assert _render("post/footer").text.endswith("To leave, send an empty mail to pmo-leave@lists.example.org\n")
    _write(own, "pmo/en/post/footer.txt", "Sent to: {{ list.name }}\n\nBye\n")
    assert _render("post/footer", (own,)).text == "Sent to: pmo\n\nBye\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Subject: x\n\n{% if %}\n", "line 3"),
        ("Subject: x\n\nHello\n{{ nothing_of_that_name }}\n", "nothing_of_that_name"),
        ("Subject: x\n\n{{ list.phone }}\n", "phone"),
        ("Hello\n\nthere\n", "`Hello` is no header line"),
        ("X-Other: x\n\nHello\n", "no Subject"),
        ("Subject: x\n\n{{ list.__class__.__mro__ }}\n", "unsafe"),
        ("Subject: x\n\n{{ 1 // 0 }}\n", "line 3: .*zero"),
        ("Subject: x\n\n{% include 'notice/none.txt' %}\n", "none.txt"),
    ],
)
def test_a_broken_text_of_an_admin_is_reported_and_the_package_s_is_sent(own, caplog, monkeypatch, text, why):
    monkeypatch.setattr(log.logger, "propagate", True)
    _write(own, "pmo/en/notice/goodbye.txt", text)
    assert _render("notice/goodbye", (own,)) == _render("notice/goodbye")
    assert "event=text_broken" in caplog.text and "notice/goodbye" in caplog.text
    (problem,) = Texts([own]).check()
    assert problem.startswith(f"{own}/pmo/en/notice/goodbye.txt: the package's text is sent in its place: ")
    assert re.search(why, problem)
    assert "\n" not in problem


def test_a_text_that_is_not_utf_8_does_not_stop_mail(own):
    _write(own, "en/notice/goodbye.txt", "")
    (own / "en/notice/goodbye.txt").write_bytes(b"Subject: Gr\xfc\xdfe\n\nx\n")
    assert _render("notice/goodbye", (own,)) == _render("notice/goodbye")
    assert "utf-8" in Texts([own]).check()[0]


def test_check_names_files_that_are_never_used_and_is_silent_about_good_ones(own):
    _write(own, "en/notice/godbye.txt", "Subject: x\n\nx\n")
    _write(own, "en/notice/welcome.html", "<p>x</p>")
    _write(own, "en/notice/held.txt", "Subject: {{ subject }}\n\n{{ reason }}\n")
    _write(own, "en/notice/_part.txt", "x")
    _write(own, "en/base.html", "{% block content %}{% endblock %}")
    _write(own, "en/post/footer.txt", "{{ list.address }}\n")
    problems = Texts([own, own / "not-there"]).check()
    assert [problem.removeprefix(str(own)) for problem in problems] == [
        "/en/notice/godbye.txt: is not used: no text is called notice/godbye",
        "/en/notice/welcome.html: is not used: there is no welcome.txt beside it",
    ]
    assert Texts([]).check() == []


@pytest.mark.parametrize("list_name", ["..", ".", "../x", "a/b", "", "/etc", "pmo\n", ".pmo", "PMO"])
def test_a_list_name_never_leads_out_of_the_folder(own, list_name):
    _write(own / "x", "en/notice/goodbye.txt", "Subject: Outside\n\nOutside.\n")
    (own / "in").mkdir()
    rendered = Texts([own / "in"]).render("notice/goodbye", "en", list_name, COMMON)
    assert rendered.headers == _render("notice/goodbye").headers


@pytest.mark.parametrize("language", ["..", "../x", "", "en/../../x", "xx", "EN"])
def test_an_unknown_or_odd_language_is_answered_in_english(own, language):
    _write(own / "x", "notice/goodbye.txt", "Subject: Outside\n\nOutside.\n")
    (own / "in").mkdir()
    rendered = Texts([own / "in"]).render("notice/goodbye", language, "pmo", COMMON)
    assert rendered == _render("notice/goodbye")


def test_the_package_s_own_mistake_is_not_hidden():
    with pytest.raises(Exception, match="subject"):
        Texts([]).render("notice/held", "en", "pmo", COMMON)


# ------------------------------------------------------------------ digests


def _post(label="#48.2", author="Bob", lines=("Hello",), **more) -> DigestPost:
    return DigestPost(label, author, "bob@example.com", "Fri 21 Nov 2025, 18:40", (Block("text", lines, 0),), **more)


def test_a_digest_has_its_contents_at_the_top_then_the_threads_with_folded_quotes():
    rendered = _render("digest/digest")
    text = rendered.text
    assert rendered.headers == (("Subject", "Project Management Office: digest 7, 2 new posts"),)
    assert text.index("#51  Who has") < text.index("=====") < text.index("#48.1  Ann Other <ann@example.org>")
    assert "> Hello,\n>\n[12 more quoted lines]\n" in text
    assert "[Attached: budget 2026.ods, 48 KB]" in text
    assert "Fri 21 Nov 2025, 09:12, from an earlier digest" in text
    assert "Answer: pmo+r.sample@lists.example.org" in text


def test_the_html_of_a_digest_says_the_same_with_links_to_its_threads():
    tree = HTMLParser(_render("digest/digest").html)
    words = " ".join(tree.body.text().split())
    assert "[12 more quoted lines]" in words and "budget 2026.ods (48 KB)" in words
    anchors = {node.attributes["id"] for node in tree.css("h2")}
    assert {link.attributes["href"] for link in tree.css('a[href^="#"]')} == {f"#{a}" for a in anchors}
    assert tree.css("img, script, style, link, form, iframe") == []
    assert (
        tree.css_first('a[href^="mailto:pmo+r.sample@"]')
        .attributes["href"]
        .endswith("subject=Re%3A%20Budget%20for%202026")
    )


def test_a_digest_shows_what_was_written_apart_from_what_was_quoted():
    body = Body("Hello,\n\nOn Friday, 21 Nov 2025, Ann wrote:\n" + "> word\n" * 9 + "\nYes.\n\n-- \nBob\n", ())
    shown = digest_post(POST, body, UTC)
    rendered = _render("digest/digest", **digest_values(1, 0.0, [DigestThread("#48", "Hi", (shown,))], UTC))
    assert "> word\n> word\n[7 more quoted lines]\n\nYes.\n\n-- \nBob\n" in rendered.text
    (quote,) = HTMLParser(rendered.html).css('div[style*="border-left"]')
    assert ">" not in quote.text() and quote.text().endswith("wordword[7 more quoted lines]")


def test_one_quote_mark_is_taken_off_where_a_bar_shows_the_quote():
    lines = ("> a", ">b", " > c", "> > d", "2 > 1", "")
    assert [unquoted(line) for line in lines] == ["a", "b", "c", "> d", "2 > 1", ""]


def test_one_new_post_is_not_called_posts_and_long_lines_are_folded():
    thread = DigestThread("#1", "word " * 30, (_post(lines=("word " * 40, "> " + "quoted " * 30)),))
    rendered = _render("digest/digest", **digest_values(3, 0.0, [thread], UTC))
    assert rendered.headers[0][1].endswith("digest 3, 1 new post")
    assert max(map(len, rendered.text.split("\n"))) <= WIDTH
    assert len(re.findall(r"^> quoted", rendered.text, re.MULTILINE)) == 3


def test_a_post_is_shown_with_its_author_its_date_in_the_list_s_zone_and_its_files():
    body = Body("Yes.\n", (Attachment("a.pdf", "application/pdf", 1_234_567),))
    shown = digest_post(POST, body, ZoneInfo("Europe/Vienna"), new=False, reply="r@example.org")
    assert (shown.label, shown.author, shown.address) == ("#48.3", "ann@example.org", "ann@example.org")
    assert shown.date == "Sat 22 Nov 2025, 15:05"
    assert [(a.filename, a.size) for a in shown.attachments] == [("a.pdf", "1.2 MB")]
    assert shown.blocks[0].lines[0] == "Yes."
    assert (shown.new, shown.reply) == (False, "r@example.org")


def test_the_end_of_a_very_long_post_is_left_out_and_the_digest_says_so():
    for lines, cut in ((10, False), (100_000, True)):
        shown = digest_post(POST, Body("line\n" * lines, ()), UTC)
        rendered = _render("digest/digest", **digest_values(1, 0.0, [DigestThread("#48", "Hi", (shown,))], UTC))
        assert shown.cut is cut
        assert ("left out" in rendered.text) is ("left out" in rendered.html) is cut
        assert len(rendered.text) < 30_000


def test_only_new_posts_are_counted():
    threads = [DigestThread("#1", "a", (_post(new=False), _post())), DigestThread("#2", "b", (_post(),))]
    counts = digest_values(1, 0.0, threads, UTC)["counts"]
    assert (counts.posts, counts.threads) == (2, 2)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (48_200, "48 KB"), (999_499, "999 KB"), (999_500, "1.0 MB")],
)
def test_sizes_are_written_for_people(size, text):
    assert size_text(size) == text


def test_dates_are_written_for_people():
    assert date_text(0.0, UTC) == "Thu 1 Jan 1970, 00:00"


# ------------------------------------------------------------------ lines


def test_paragraphs_are_filled_and_lines_that_begin_with_a_blank_are_left_alone():
    assert fill("one\ntwo\n  three\nfour\n\n\n\nfive\n") == "one two\n  three\nfour\n\nfive\n"
    assert fill("word " * 40).count("\n") == 3


def test_a_quotation_is_marked_on_each_line_even_where_it_had_to_be_folded():
    assert prefixed("a\r\n\nb", "  | ") == "  | a\n  |\n  | b"
    assert all(line.startswith("> > ") for line in fold("> > " + "word " * 40).split("\n"))
    assert fold("x" * 100) == "x" * 100
