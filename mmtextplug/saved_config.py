"""The config that a checkpoint holds, read as data: nothing of it is run."""

from __future__ import annotations

import ast
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import get_local_path

from mmtextplug.registered import unregistered
from mmtextplug.safe_load import safe_load


def saved_config(path: str | Path) -> Config:
    """The model and the test transforms that a checkpoint of MMEngine's was trained with.

    Args:
        path (str | Path): A checkpoint, or its address.

    Returns:
        Config: ``default_scope``, ``model``, and ``test_dataloader`` or ``test_pipeline``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or unsafe, or holds no config, or one that is more than
            settings of registered components.
    """
    with get_local_path(str(path)) as local:
        content = safe_load(local)
    text = None
    for keys in (("message_hub", "runtime_info", "cfg"), ("meta", "cfg")):
        inner = content
        for key in keys:
            inner = inner.get(key) if isinstance(inner, dict) else None
        text = text or inner
    if not isinstance(text, str) or not text:
        raise ValueError(f"{path}: no config in it: name the one that it was trained with")
    try:
        settings = read_config(text)
        kept = {
            key: settings[key]
            for key in ("default_scope", "model", "test_dataloader", "test_pipeline")
            if key in settings
        }
        for where, name in unregistered(kept):
            raise ValueError(f"{where}: nobody registered {name!r}")
    except ValueError as error:
        raise ValueError(f"{path}: its config is refused: {error}. Name one instead.") from error
    if not isinstance(kept.get("model"), dict):
        raise ValueError(f"{path}: no model in its config: name the one that it was trained with")
    return Config(kept)


def read_config(text: str) -> dict:
    """The settings in the text of a config, as ``Config.pretty_text`` writes it.

    Args:
        text (str): Assignments of literals of Python, in which ``dict(a=1)`` is one, too.

    Raises:
        ValueError: If it is anything else.
    """
    settings = {}
    try:
        for line in ast.parse(text).body:
            if not isinstance(line, ast.Assign) or not isinstance(line.targets[0], ast.Name):
                raise ValueError(f"line {line.lineno} is more than an assignment")
            settings[line.targets[0].id] = _literal(line.value)
    except (SyntaxError, TypeError, RecursionError) as error:
        raise ValueError(f"not a config ({str(error).splitlines()[0]})") from error
    return settings


def _literal(node: ast.AST) -> object:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        if len(node.args) > 1 or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError(f"line {node.lineno}: dict() of something that is no literal")
        given = _literal(node.args[0]) if node.args else {}
        return {**given, **{keyword.arg: _literal(keyword.value) for keyword in node.keywords}}
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(_literal(item) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"line {node.lineno}: {ast.unparse(node)[:60]} is no literal") from None
