"""Which remembered sentences are lasting wishes of a human, in memories that agents keep about people and projects.

Two ways to know: the record says so itself (an entity of type `behavioral_rule`, an observation `[convention]`), or the
sentence does ("Prefers small diffs", "nunca usar any"). Words count only where the record is about a person, or where
the sentence names one: "the modal always opens" is a fact about a modal.
"""

import re
import unicodedata

_RULE_WORDS = frozenset(
    """
    preference preferences rule rules convention conventions guideline guidelines principle principles practice
    practices policy policies directive directives governance constraint constraints requirement requirements standard
    standards
    instruction instructions boundary boundaries
    preferencia preferencias regla reglas convencion convenciones principio principios practica practicas norma normas
    politica politicas directriz directrices instruccion instrucciones restriccion restricciones
    regra regras convencao convencoes pratica praticas diretriz diretrizes
    regle regles preferences pratiques consigne consignes regel regeln konvention konventionen praferenz praferenzen
    """.split()  # noqa: SIM905 - fifty words read better as words
)
_PERSON_WORDS = frozenset(
    {"user", "person", "human", "usuario", "usuaria", "persona", "pessoa", "utilisateur", "personne", "benutzer"}
)
_WISH = (
    r"prefer(?:s|red|ence|ences)?|always|never|must(?: not|n't)?|should(?: not|n't)?|do not|don't|avoids?|dislikes?"
    r"|hates|insists?|forbid(?:s|den)?|prohibits?|banned|wants|likes"
    r"|prefier[eo]n?|preferencias?|siempre|nunca|jamas|no usar|evitar?|prohib[eio]\w*|obligatori[oa]s?|deben?|quiere"
    r"|prefere|sempre|jamais|deve|evite|proibid[oa]|toujours|prefere|doit|bevorzugt|immer|niemals|muss|vermeid\w+"
)
_STATES_A_WISH = re.compile(rf"\b(?:{_WISH})\b")
_OF_A_PERSON = re.compile(
    r"^(?:prefers?|always|never|prefiere|siempre|nunca|prefere|sempre|bevorzugt)\b"
    rf"|\b(?:user|human|usuario|utilisateur|benutzer)\b[^.]{{0,40}}\b(?:{_WISH})\b"
)


def is_rule_name(name: str) -> bool:
    """Whether a type, category or namespace is one for rules: `behavioral_rule`, `convención`, `user-preferences`."""
    return not _RULE_WORDS.isdisjoint(_words(name))


def is_person_name(name: str) -> bool:
    """Whether a type is one for people: `user`, `persona`."""
    return not _PERSON_WORDS.isdisjoint(_words(name))


def states_wish(text: str, of_person: bool) -> bool:
    """Whether `text` says what somebody wants always or never; `of_person`: it stands under a person's name."""
    return (_STATES_A_WISH if of_person else _OF_A_PERSON).search(_folded(text)) is not None


def _folded(text: str) -> str:
    """Lower case without accents, so that `Convención` and `convencion` are one word."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", _folded(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))))
