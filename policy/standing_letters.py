"""What the owners of an account are mailed when it is suspended, closed or given back: that it is so, until when, and why."""

from datetime import UTC, datetime

from sqlmodel import Session

from policy import members, sessions
from policy.account_states import Standing
from policy.letters import Letter


def to_owners(session: Session, account_id: str, standing: Standing) -> list[Letter]:
    """One letter per owner. The reason is the operator's and meant for them."""
    until = "" if standing.due_at is None else datetime.fromtimestamp(standing.due_at // 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    words = {
        "account": account_id, "name": sessions.account_name(session, account_id), "state": standing.state,
        "reason": standing.reason or "", "until": until,
    }  # fmt: skip
    return [
        Letter(kind="standing", to=member.email, words=words) for member in members.listed(session, account_id) if member.role == "owner"
    ]
