"""A page as a browser's parser sees it."""

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "hr"}


class Seen(HTMLParser):
    """Tags in order, attributes, the text outside of styles, and tags that were closed in the wrong order."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.open, self.torn, self.words = [], [], [], [], []
        self.feed(page)
        self.close()
        self.torn += self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.torn.append(f"/{tag}")

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        """All words, with single spaces."""
        return " ".join("".join(f" {each} " for each in self.words).split())

    def values(self, name):
        """Every value of an attribute."""
        return [value for _, key, value in self.attributes if key == name]


def addresses(page):
    """Everything in a page that a browser might fetch: addresses of any scheme, but for names of namespaces."""
    return re.findall(r"(?:https?:|ftp:|file:|data:|//)[\w/.]+", re.sub(r'xmlns(:\w+)?="[^"]*"', "", page))
