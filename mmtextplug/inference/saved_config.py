"""The config that a checkpoint holds, read as data: what it could do harm by is refused."""

from __future__ import annotations

import ast
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import get_local_path
from mmengine.logging import print_log

from mmtextplug.inference.settings import OFFICIAL, photo_pipeline
from mmtextplug.inference.untrusted import untrusted
from mmtextplug.safe_load import safe_load


def config_of(checkpoint: str | Path | None) -> Config:
    """The config of a detector of which only the checkpoint is named.

    Args:
        checkpoint (str | Path, optional): A checkpoint, or its address.

    Returns:
        Config: The model and the test transforms (after loading) that the checkpoint was trained
        with, if it holds them, as MMEngine's do. Otherwise, and without a checkpoint, those of
        the official CRAFT.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or unsafe, or holds a config that is more than
            settings of registered parts of text detectors.
    """
    if checkpoint is None:
        return Config(OFFICIAL)
    with get_local_path(str(checkpoint)) as local:
        content = safe_load(local)
    text = None
    for keys in (("message_hub", "runtime_info", "cfg"), ("meta", "cfg")):
        inner = content
        for key in keys:
            inner = inner.get(key) if isinstance(inner, dict) else None
        text = text or inner
    if not isinstance(text, str) or not text:
        return Config(OFFICIAL)
    try:
        settings = read_config(text)
        if not isinstance(settings.get("model"), dict):
            raise ValueError("no model in it")
        kept = {"default_scope": settings.get("default_scope"), "model": settings["model"]}
        kept["test_pipeline"] = [dict(step) for step in photo_pipeline(Config(settings))]
        for where, reason in untrusted(kept):
            raise ValueError(f"{where}: {reason}")
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ValueError(
            f"{checkpoint}: its config is refused: {error}. Name one instead."
        ) from error
    print_log(f"{checkpoint}: its own config is used", logger="current")
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
