"""Features from other people's grammars, where they are installed: Pygments' tokens, and syntax trees by tree-sitter."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from nextchar.discovery.features import Bools, Feature, binary, ordinal

LEXERS = {"c": "c", "python": "python", "latex": "tex", "wiki": "wikitext"}
TOKENS = (
    "Comment",
    "String",
    "Keyword",
    "Number",
    "Operator",
    "Name.Function",
    "Comment.Preproc",
    "Generic.Heading",
)
CLOSED = ("lexer_comment", "lexer_string", "lexer_comment.preproc")
GRAMMARS = {"c": "tree_sitter_c", "python": "tree_sitter_python"}
BLOCKS = {"c": "compound_statement", "python": "block"}
NODES = {
    "c": {
        "tree_if_condition": ("if_statement", "condition"),
        "tree_arguments": ("call_expression", "arguments"),
        "tree_parameters": ("function_declarator", "parameters"),
        "tree_struct": ("struct_specifier", "body"),
    },
    "python": {
        "tree_if_condition": ("if_statement elif_clause", "condition"),
        "tree_arguments": ("call", "arguments"),
        "tree_parameters": ("function_definition", "parameters"),
        "tree_class": ("class_definition", "body"),
    },
}
"""By language, of which nodes which field."""
EXTRA = "pip install 'nextchar[discover]'"


def missing(profile: str) -> list[str]:
    """Return which libraries would bring more features of a profile, but are not installed."""
    wanted = ["pygments"] if profile in LEXERS else []
    wanted += ["tree_sitter", GRAMMARS[profile]] if profile in GRAMMARS else []
    return [name for name in wanted if find_spec(name) is None]


def lexed(profile: str, text: str) -> Iterator[Feature]:
    """Yield for each kind of token whether a character is in one, if there is a lexer for the profile."""
    try:
        lexers, token = import_module("pygments.lexers"), import_module("pygments.token")
    except ImportError:
        return
    if profile not in LEXERS:
        return
    kinds = {f"lexer_{name.lower()}": token.string_to_tokentype(name) for name in TOKENS}
    inside = {name: np.zeros(len(text), np.bool_) for name in kinds}
    # Not get_tokens, which strips and normalises; its offsets would not be those of the text.
    lexer = lexers.get_lexer_by_name(LEXERS[profile], stripnl=False, ensurenl=False)
    for at, kind, value in lexer.get_tokens_unprocessed(text):
        for name, wanted in kinds.items():
            if kind in wanted:
                inside[name][at : at + len(value)] = True
    for name, values in inside.items():
        yield binary(name, values & ~_closing(values, text) if name in CLOSED else values)


def _closing(inside: Bools, text: str) -> Bools:
    """Return the last character of each stretch, where that is what closes it: with it, one is outside again."""
    last = inside & ~np.append(inside[1:], np.False_)
    return last & np.array([character in "\"'/\n" for character in text])


def parsed(profile: str, text: str) -> Iterator[Feature]:
    """Yield where a character stands in the syntax tree, if there is a grammar for the profile."""
    if profile not in GRAMMARS:
        return
    try:
        grammar, library = import_module(GRAMMARS[profile]), import_module("tree_sitter")
    except ImportError:
        return
    source = text.encode("utf-8", "replace")
    tree = library.Parser(library.Language(grammar.language())).parse(source)
    # Offsets of the tree are of bytes; several of them may be one character.
    character = np.cumsum([(byte & 0xC0) != 0x80 for byte in source]) - 1
    depth = np.zeros(len(text) + 1, np.int64)
    inside = {name: np.zeros(len(text), np.bool_) for name in NODES[profile]}
    for node, parent, field in _walk(tree.root_node):
        if node.end_byte <= node.start_byte:
            continue
        first, last = int(character[node.start_byte]), int(character[node.end_byte - 1])
        # A bracket at the end closes what one began; where there is none, the last character is inside.
        end = last + (text[first] not in "([{" or text[last] not in ")]}")
        if node.type == BLOCKS[profile]:
            depth[first] += 1
            depth[end] -= 1
        for name, (parents, wanted) in NODES[profile].items():
            if field == wanted and parent in parents.split():
                inside[name][first:end] = True
    yield ordinal("tree_block_depth", np.cumsum(depth[:-1]))
    for name, values in inside.items():
        yield binary(name, values)


def _walk(root: Any) -> Iterator[tuple[Any, str, str | None]]:
    """Yield every node with the type of its parent and its field there."""
    stack: list[tuple[Any, str, str | None]] = [(root, "", None)]
    while stack:
        node, parent, field = stack.pop()
        yield node, parent, field
        stack += [(child, node.type, node.field_name_for_child(k)) for k, child in enumerate(node.children)]
