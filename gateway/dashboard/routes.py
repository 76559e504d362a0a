"""All handlers of the pages, in one list for the application, with their own way of saying no."""

from typing import Any, Final

from litestar import Router
from litestar.exceptions import HTTPException

from gateway.dashboard import accounts, assets, keys, members, operator_accounts, operator_health, overview, playground, routing
from gateway.dashboard.errors import refused

HANDLERS: Final[list[Any]] = [
    assets.get_asset,
    assets.get_icon,
    accounts.choose_account,
    accounts.welcome,
    overview.show_overview,
    keys.show_keys,
    keys.create_key,
    keys.show_key,
    keys.change_key,
    keys.rotate_key,
    keys.revoke_key,
    routing.show_routing,
    routing.change_rules,
    routing.change_document,
    members.show_members,
    members.invite,
    members.withdraw,
    members.change_role,
    members.remove,
    members.make_project,
    members.name_account,
    playground.show_playground,
    playground.make_key,
    playground.ask,
    operator_accounts.show_accounts,
    operator_accounts.show_account,
    operator_accounts.add_credit,
    operator_accounts.suspend,
    operator_accounts.resume,
    operator_health.show_health,
    operator_health.show_ledger,
    operator_health.verify_ledger,
    operator_health.show_audit,
]


def router() -> Router:
    return Router("/", route_handlers=HANDLERS, exception_handlers={HTTPException: refused, Exception: refused})
