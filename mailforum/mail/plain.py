"""Subjects that say nothing: two mails that have one in common need not have anything else in common."""

from __future__ import annotations

import re

# In a dozen languages, what people write who think of nothing better, and the small words between.
_WORDS = (  # noqa: SIM905  rows of words are easier to read as texts
    "hi hello hey dear all everyone everybody folks guys list team people there sir madam greetings welcome good "
    "morning day question questions query quick simple small stupid newbie beginner short general another one "
    "more help needed wanted please urgent asap important need problem problems issue issues bug error errors "
    "trouble test tests testing test1 test2 testmail ignore mail email message msg post new news update updates "
    "info information fyi announcement request suggestion suggestions feedback comment comments idea ideas note "
    "notes reminder thanks thank you thx ok yes no none subject untitled without empty re fw fwd unsubscribe "
    "subscribe introduction intro about for the a an of to and in on with my our this is me i it some any again "
    "first second hallo moin servus guten tag morgen abend liebe alle zusammen frage fragen kurze eine hilfe "
    "gesucht dringend wichtig probleme fehler kein betreff neu neues neuigkeiten danke bitte vorstellung anfrage "
    "hinweis bonjour salut tous aide besoin problème erreur sans objet sujet merci nouvelle nouvelles demande "
    "une un de hola buenas saludos todos pregunta consulta duda ayuda urgente sin asunto gracias una ola olá "
    "pergunta dúvida duvida ajuda sem assunto obrigado ciao salve tutti domanda aiuto problema errore nessun "
    "oggetto senza grazie prova hej hei hoi vraag vragen hulp spørgsmål fråga hjelp hjälp hjælp bedankt tack "
    "takk tak cześć czesc witam pytanie pomoc pomocy błąd bez tematu temat dzięki привет здравствуйте всем "
    "вопрос вопросы помогите помощь проблема ошибка без темы тест спасибо merhaba selam soru yardım yardim konu "
    "yok teşekkürler 你好 您好 大家好 问题 問題 求助 请教 請教 测试 測試 无主题 無主題 谢谢 謝謝 質問 テスト "
    "はじめまして お願い 件名なし ご相談 안녕하세요 질문 문의 도움 테스트 제목없음"
).split()
_PLAIN = frozenset(_WORDS)
_WORD = re.compile(r"[^\W_]+")


def is_plain(base: str) -> bool:
    """Say whether a subject for comparing (mail/evidence.py) tells nothing of what the mail is about.

    So it is with one that has only such words, only digits, or no word at all.
    """
    return all(word in _PLAIN or word.isdigit() for word in _WORD.findall(base))
