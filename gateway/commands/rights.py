"""`tollway privacy`, `tollway audit` and what an operator does to an account: suspend it, give it back, close it, see how it stands."""

import secrets
import sys
from contextlib import aclosing
from functools import partial
from typing import Any

import click
import msgspec

from gateway.account_export import account_export
from gateway.announcing import announce
from gateway.commands.files import output
from gateway.commands.registers import request_group
from gateway.commands.running import Account, Json, migrated, run, show, show_rows
from gateway.deprecation import day
from gateway.letters import written
from gateway.people import mailer_of
from gateway.settings import Settings
from gateway.subprocessors import declared
from gateway.timespan import iso
from metering import ledger, statement
from metering.money import format_usd, now_ms
from metering.signing import Signer
from policy import account_states, audit, content_store, keys, retention, standing_letters
from policy.account_states import Standing
from policy.audit import OPERATOR, Deed
from policy.keyring import keyring
from policy.letters import Letter
from policy.rights_tables import Audit

BROKEN_SHOWN_MAX = 20
Reason = click.option("--reason", required=True, help="Why: the account's owner is shown it.")


@click.group()
def privacy() -> None:
    """What is kept, for how long, and what becomes of an account that leaves."""


privacy.add_command(request_group)


@privacy.command("announce")
@Json
def privacy_announce(as_json: bool) -> None:
    """Mail the owners of every account which third parties will receive data, once for each version of the list."""
    show(run(announce_parties), as_json)


@privacy.command("retention")
@Json
def privacy_retention(as_json: bool) -> None:
    """List the categories of what is kept, how many days each stays and what removes it."""
    show_rows([category._asdict() for category in retention.CATEGORIES], as_json)


@privacy.command("export")
@Account
@click.option("--out", help="The zip to write; without it, standard output.")
def privacy_export(account_id: str, out: str | None) -> None:
    """Export all that is kept of an account as a zip with its own README."""
    if out is None and sys.stdout.isatty():
        raise ValueError("a zip is not text: send it to a file with --out, or into a pipe")
    run(export, account_id=account_id, out=out)


@privacy.command("delete")
@Account
@Json
def privacy_delete(account_id: str, as_json: bool) -> None:
    """Delete all prompts and answers that are kept of an account, their keys first."""
    show(run(delete_content, account_id=account_id), as_json)


@privacy.command("close")
@Account
@Reason
@Json
def privacy_close(account_id: str, reason: str, as_json: bool) -> None:
    """Close an account: its keys are dead at once, and after 30 days, which only its owner can waive, all but its books is deleted."""
    work = partial(account_states.close, account_id=account_id, by=OPERATOR, waive=False, reason=reason)
    show(run(_change, account_id=account_id, work=work), as_json)


@privacy.command("cancel")
@Account
@Json
def privacy_cancel(account_id: str, as_json: bool) -> None:
    """Call off the closing of an account whose window is not over."""
    work = partial(account_states.cancel, account_id=account_id, by=OPERATOR)
    show(run(_change, account_id=account_id, work=work), as_json)


@click.command("suspend")
@Account
@Reason
@Json
def account_suspend(account_id: str, reason: str, as_json: bool) -> None:
    """Stop an account's keys, all but the owner's, which may read."""
    work = partial(account_states.suspend, account_id=account_id, reason=reason)
    show(run(_change, account_id=account_id, work=work), as_json)


@click.command("resume")
@Account
@Json
def account_resume(account_id: str, as_json: bool) -> None:
    """Give a suspended account back."""
    show(run(_change, account_id=account_id, work=partial(account_states.resume, account_id=account_id)), as_json)


@click.command("show")
@Account
@Json
def account_show(account_id: str, as_json: bool) -> None:
    """Show an account's balance and whether it is active, suspended, closing or purged."""
    show(run(standing_of, account_id=account_id), as_json)


@click.group("audit")
def audit_group() -> None:
    """The audit log: who changed what."""


@audit_group.command("list")
@Account
@Json
def audit_list(account_id: str, as_json: bool) -> None:
    """List what was done to an account, oldest first."""
    show_rows(run(list_deeds, account_id=account_id), as_json)


@audit_group.command("verify")
def audit_verify() -> None:
    """Compute the chain of the audit log again; exit status 1 if anything was changed, taken out or put in."""
    count, broken = run(verify_audit)
    click.echo("\n".join(broken[:BROKEN_SHOWN_MAX]) if broken else f"{count:,} deeds, the chain is whole")
    sys.exit(1 if broken else 0)


async def announce_parties(settings: Settings) -> dict[str, int]:
    async def send(letter: Letter) -> None:
        await mailer_of(settings).send(written(letter, settings.origin))

    now = now_ms()
    async with migrated(settings) as database:
        told = await announce(database, declared(), send, today=day(now), now=now)
    return told._asdict()


async def standing_of(settings: Settings, *, account_id: str) -> dict[str, Any]:
    async with migrated(settings) as database:
        balance = await database.read(ledger.balance, account_id)
        standing = await database.read(account_states.of, account_id)
    return {**_shown(account_id, standing), "balance_usd": format_usd(balance.available)}


async def export(settings: Settings, *, account_id: str, out: str | None) -> None:
    ring, now = keyring(settings.content_keys, settings.secrets, secrets.token_bytes), now_ms()
    async with migrated(settings) as database:
        await database.read(statement.check_account, account_id)
        await database.write(audit.record, Deed(actor=OPERATOR, action="account.export", account_id=account_id), now=now)
        with output(out) as file:
            async with aclosing(account_export(database, account_id, wrapper=ring, now=now)) as chunks:
                async for chunk in chunks:
                    file.write(chunk)


async def delete_content(settings: Settings, *, account_id: str) -> dict[str, Any]:
    deed = Deed(actor=OPERATOR, action="logs.delete", account_id=account_id, change={"what": "all"})
    async with migrated(settings) as database:
        await database.read(ledger.balance, account_id)
        work = partial(content_store.delete_all, account_id=account_id)
        receipt = await database.write(audit.noted, deed, now_ms(), work)
    return {"account_id": account_id, "deleted": receipt.rows, "deleted_bytes": receipt.size, "deleted_keys": receipt.keys}


async def list_deeds(settings: Settings, *, account_id: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    async with migrated(settings) as database:
        while rows := await database.read(audit.page, after=shown[-1]["seq"] if shown else 0, account_id=account_id):
            shown += [_deed(row) for row in rows]
    return shown


async def verify_audit(settings: Settings) -> tuple[int, list[str]]:
    ours = {Signer(keys.derive(secret, "ledger-checkpoints")).public_key for secret in settings.secrets}
    async with migrated(settings) as database:
        return await database.read(lambda session: (audit.count(session), [*audit.broken(session), *audit.cut(session, ours)]))


async def _change(settings: Settings, *, account_id: str, work: Any) -> dict[str, Any]:
    async with migrated(settings) as database:
        standing: Standing = await database.write(work, now=now_ms())
        letters = await database.read(standing_letters.to_owners, account_id, standing)
    for letter in letters:
        await _mailed(letter, settings)
    return _shown(account_id, standing)


async def _mailed(letter: Letter, settings: Settings) -> None:
    """A notice that does not go out does not undo what was done: whoever did it is told."""
    try:
        await mailer_of(settings).send(written(letter, settings.origin))
    except OSError as error:
        click.echo(f"the notice to an owner was not sent ({type(error).__name__}): tell them", err=True)


def _shown(account_id: str, standing: Standing) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "state": standing.state,
        "since": None if standing.since is None else iso(standing.since),
        "until": None if standing.due_at is None else iso(standing.due_at),
        "actor": standing.actor,
        "reason": standing.reason,
    }


def _deed(row: Audit) -> dict[str, Any]:
    change = None if row.change is None else msgspec.json.decode(row.change)
    return {"seq": row.seq, "at": iso(row.at), "actor": row.actor, "action": row.action, "subject": row.subject, "change": change}
