"""The tools of a Responses request and the choice among them -> those of the canonical chat request."""

from typing import Annotated, Any

import msgspec

from gateway.api.chat_body import checked
from gateway.errors import BadRequest

Chosen = str | dict[str, Any] | None


class FunctionTool(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Allowed(msgspec.Struct):
    """`tool_choice` of type allowed_tools."""

    mode: str
    tools: list[dict[str, Any]]


def tools_of(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Without those that are `left_out`. BadRequest for others that the server would have to run: no price is known for their use."""
    return [_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools or ()) if not left_out(tool)]


def left_out(tool: dict[str, Any]) -> bool:
    """Searching the web is only ever offered, and coding agents offer it with every request: the answer does without, and that is named."""
    return str(tool.get("type")).startswith("web_search")


def choice_of(choice: Chosen, tools: list[dict[str, Any]]) -> tuple[Chosen, list[dict[str, Any]]]:
    """The choice and the tools to offer. Allowed tools are the only ones offered: not every provider can be told to leave some out."""
    if isinstance(choice, dict):
        return _chosen(choice, tools)
    if choice not in (None, "auto", "none", "required"):
        raise _bad("tool_choice", "must be auto, none, required, or an object of type function or allowed_tools.")
    if choice == "required" and not tools:
        raise _bad("tool_choice", "there are no tools to choose from; send them, or leave this out.")
    return choice, tools


def _tool(tool: dict[str, Any], at: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        text = (
            "only tools of type function can be used here. Hosted tools (file_search, code_interpreter, computer, mcp, "
            "image_generation, shell) and custom tools are not run; remove this one, or define a function for it."
        )
        raise BadRequest(f"{at}.type: {text}", param=f"{at}.type")
    fields = msgspec.structs.asdict(checked(tool, FunctionTool, at))
    return {"type": "function", "function": {name: value for name, value in fields.items() if value is not None}}


def _chosen(choice: dict[str, Any], tools: list[dict[str, Any]]) -> tuple[Chosen, list[dict[str, Any]]]:
    kind, known = choice.get("type"), [tool["function"]["name"] for tool in tools]
    if kind == "function":
        if choice.get("name") not in known:
            raise _bad("tool_choice.name", "must be the name of one of the tools.")
        return {"type": "function", "function": {"name": choice["name"]}}, tools
    if kind != "allowed_tools":
        raise _bad("tool_choice.type", "must be function or allowed_tools; hosted and custom tools are not run here.")
    allowed = checked(choice, Allowed, "tool_choice")
    if allowed.mode not in ("auto", "required"):
        raise _bad("tool_choice.mode", "must be auto or required.")
    names = [tool.get("name") for tool in allowed.tools]
    if not names or any(name not in known for name in names):
        raise _bad("tool_choice.tools", "must be names of functions among the tools.")
    return allowed.mode, [tool for tool in tools if tool["function"]["name"] in names]


def _bad(place: str, text: str) -> BadRequest:
    return BadRequest(f"{place}: {text}", param=place)
