"""What a page says after a deed: `?done=` names one of these, so that no address can make a page say anything else."""

from typing import Final

NOTICES: Final = {
    "account.changed": "The account's state is changed; it holds within a second.",
    "account.chosen": "You are looking at another account now.",
    "account.named": "The account has its new name.",
    "credit.added": "The credit is booked.",
    "key.changed": "The key is changed; it takes effect within a second.",
    "key.revoked": "The key is revoked: within a second nothing works with it any more.",
    "member.changed": "The member has another role now; where they were signed in, they must sign in again.",
    "member.invited": "The invitation is on its way; it is good for seven days.",
    "member.removed": "The member is gone, and the keys that were theirs are revoked.",
    "invitation.withdrawn": "The invitation is withdrawn.",
    "project.made": "The project is made; budgets can be set for it.",
    "rules.changed": "The rules are changed; they hold within a second.",
    "signed.out": "You are signed out.",
}
