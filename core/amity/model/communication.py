"""Addresses, and what was said over them: interactions, their conversations, participants and files."""

from __future__ import annotations

from typing import Any

from tortoise import fields

from ..entity import EDITABLE, Entity, EntityOptions, Record, SqlIndex, Unique

DELIVERY = ("queued", "sending", "sent", "delivered", "read", "failed")
"""How far a message has come on its way out, in the order in which it moves."""


class ContactPoint(Entity):
    """An address of a customer on a channel: an e-mail address, a phone number, a chat handle.

    Stored in its normal form. Unique within its channel, unless it is marked as shared: a switchboard, the
    phone of a family.
    """

    customer: Any = fields.ForeignKeyField(
        "core.Customer",
        related_name="contact_points",
        on_delete=fields.CASCADE,
        description="Whose address it is",
    )
    channel = fields.CharField(max_length=50, description="The channel, like email or phone")
    address = fields.CharField(max_length=500, description="Address in its normal form, like +41443331122")
    label = fields.CharField(max_length=100, null=True, description="What it is for: work, home, billing")
    primary = fields.BooleanField(default=False, db_default=False, description="Whether to prefer it")
    shared = fields.BooleanField(
        default=False, db_default=False, description="Whether several customers may have it"
    )
    search_text = fields.TextField(default="", db_default="", description="Folded text for searching")

    options = EntityOptions(
        prefix="cpt",
        api=EDITABLE,
        searchable=("address",),
        found_as="customer",
        personal=("address",),
        unique=(
            Unique(("channel", "address"), where="NOT shared"),
            Unique(("customer", "channel", "address")),
        ),
        indexes=(SqlIndex("lookup", "(channel, address) WHERE deleted_at IS NULL"),),
    )


class Conversation(Entity):
    """What is said to and fro about one matter over one channel, for a person or a team to take care of."""

    customer: Any = fields.ForeignKeyField(
        "core.Customer",
        null=True,
        related_name="conversations",
        on_delete=fields.CASCADE,
        description="The customer; null while nobody has decided who it is",
    )
    connection: Any = fields.ForeignKeyField(
        "core.Connection",
        null=True,
        related_name="conversations",
        on_delete=fields.SET_NULL,
        description="The connection that it runs over",
    )
    assignee: Any = fields.ForeignKeyField(
        "core.User",
        null=True,
        related_name="conversations",
        on_delete=fields.SET_NULL,
        description="The user who takes care of it",
    )
    team: Any = fields.ForeignKeyField(
        "core.Team",
        null=True,
        related_name="conversations",
        on_delete=fields.SET_NULL,
        description="The team that takes care of it",
    )
    deal: Any = fields.ForeignKeyField(
        "core.Deal",
        null=True,
        related_name="conversations",
        on_delete=fields.SET_NULL,
        description="The deal that it is about",
    )
    channel = fields.CharField(max_length=50, description="The channel, like email or sms")
    subject = fields.CharField(max_length=500, null=True, description="Subject, one line")
    status = fields.CharField(
        max_length=10, default="open", db_default="open", description="Whether somebody has to take care of it"
    )
    address = fields.CharField(max_length=500, null=True, description="The other side's address")
    key = fields.CharField(max_length=500, null=True, description="What the channel calls the thread")
    unread = fields.IntField(default=0, db_default=0, description="How many messages nobody has read yet")
    started_at = fields.DatetimeField(description="When it began (UTC)")
    last_at = fields.DatetimeField(description="When its newest interaction happened (UTC)")

    options = EntityOptions(
        prefix="cnv",
        api=EDITABLE - {"create", "upsert"},
        read_only={"customer", "connection", "channel", "address", "key", "unread", "started_at", "last_at"},
        choices={"status": ("open", "pending", "closed")},
        personal=("subject", "address"),
        owner=("assignee", "team", "customer.owner", "customer.team"),
        unique=(Unique(("connection", "key")),),
        indexes=(
            SqlIndex("team", "(team_id, status, last_at DESC, id DESC) WHERE deleted_at IS NULL"),
            SqlIndex("assignee", "(assignee_id, status, last_at DESC, id DESC) WHERE deleted_at IS NULL"),
            SqlIndex("customer", "(customer_id, last_at DESC, id DESC) WHERE deleted_at IS NULL"),
            SqlIndex("newest", "(status, last_at DESC, id DESC) WHERE deleted_at IS NULL"),
            SqlIndex("address", "(connection_id, address, last_at DESC) WHERE deleted_at IS NULL"),
        ),
    )


class Interaction(Entity):
    """One contact with a customer on any channel, in or out."""

    customer: Any = fields.ForeignKeyField(
        "core.Customer",
        null=True,
        related_name="interactions",
        on_delete=fields.CASCADE,
        description="The customer; null while nobody has decided who it was",
    )
    user: Any = fields.ForeignKeyField(
        "core.User",
        null=True,
        related_name="interactions",
        on_delete=fields.SET_NULL,
        description="The user who took part",
    )
    conversation: Any = fields.ForeignKeyField(
        "core.Conversation",
        null=True,
        related_name="interactions",
        on_delete=fields.SET_NULL,
        description="The conversation that it is part of",
    )
    connection: Any = fields.ForeignKeyField(
        "core.Connection",
        null=True,
        related_name="interactions",
        on_delete=fields.SET_NULL,
        description="The connection that it came in or went out by",
    )
    deal: Any = fields.ForeignKeyField(
        "core.Deal",
        null=True,
        related_name="interactions",
        on_delete=fields.SET_NULL,
        description="The deal that it is about",
    )
    reply_to: Any = fields.ForeignKeyField(
        "core.Interaction",
        null=True,
        related_name="replies",
        on_delete=fields.SET_NULL,
        description="What it answers",
    )
    template: Any = fields.ForeignKeyField(
        "core.Template",
        null=True,
        related_name="interactions",
        on_delete=fields.SET_NULL,
        description="The template that it was made from",
    )
    channel = fields.CharField(max_length=50, description="The channel, like email or phone")
    direction = fields.CharField(max_length=10, description="Who began: the customer or the company")
    address = fields.CharField(max_length=500, null=True, description="The customer's address, in its normal form")
    identity = fields.CharField(
        max_length=10, default="matched", description="Whether the address led to one customer"
    )
    subject = fields.CharField(max_length=500, null=True, description="Subject or summary, one line")
    body = fields.TextField(null=True, description="What was said")
    html_source = fields.TextField(null=True, description="The HTML as it came")
    language = fields.CharField(max_length=35, null=True, description="Language (BCP 47), where it is known")
    purpose = fields.CharField(
        max_length=50,
        null=True,
        description="What it was sent for, like service or marketing; consent is by purpose",
    )
    automatic = fields.BooleanField(
        default=False, db_default=False, description="Whether a machine wrote it: an auto-reply, a bounce"
    )
    message_id = fields.CharField(
        max_length=500, null=True, description="Its id in its connection; for e-mail, the Message-ID"
    )
    remote_id = fields.CharField(
        max_length=500, null=True, description="The id that the provider gave it when it was sent"
    )
    in_reply_to = fields.CharField(
        max_length=500,
        null=True,
        description="Message id that it answers, whether or not that is here",
    )
    attempts = fields.IntField(default=0, db_default=0, description="How often it was tried to send it")
    delivery = fields.CharField(
        max_length=10, null=True, description="How far it has come on its way out; it only ever moves forward"
    )
    failure = fields.TextField(null=True, description="Why it could not be delivered")
    delivered_at = fields.DatetimeField(null=True, description="When it reached the other side (UTC)")
    occurred_at = fields.DatetimeField(description="When it happened (UTC)")
    duration_seconds = fields.IntField(null=True, description="How long it took")
    custom_fields: Any = fields.JSONField(default=dict, db_default="{}", description="What has no column")
    search_text = fields.TextField(default="", db_default="", description="Folded text for searching")

    options = EntityOptions(
        prefix="int",
        api=EDITABLE,
        read_only={
            "connection",
            "template",
            "purpose",
            "automatic",
            "message_id",
            "remote_id",
            "in_reply_to",
            "attempts",
            "delivery",
            "failure",
            "delivered_at",
        },
        secret={"html_source"},
        choices={
            "direction": ("inbound", "outbound"),
            "identity": ("matched", "ambiguous", "unknown"),
            "delivery": DELIVERY,
        },
        searchable=("subject",),
        owner=("user", "customer.owner", "customer.team", "conversation.assignee", "conversation.team"),
        personal=("address", "subject", "body", "html_source"),
        unique=(Unique(("connection", "message_id")),),
        indexes=(
            SqlIndex("thread", "(conversation_id, occurred_at DESC, id DESC) WHERE deleted_at IS NULL"),
            SqlIndex(
                "orphans",
                "(connection_id, in_reply_to) WHERE in_reply_to IS NOT NULL AND reply_to_id IS NULL "
                "AND deleted_at IS NULL",
            ),
            # of deleted ones too: what was deleted must not come in again
            SqlIndex("message", "(connection_id, message_id) WHERE message_id IS NOT NULL"),
            SqlIndex("remote", "(connection_id, remote_id) WHERE remote_id IS NOT NULL"),
            SqlIndex("outbox", "(delivery, id) WHERE delivery IN ('queued', 'sending') AND deleted_at IS NULL"),
            SqlIndex("timeline", "(customer_id, occurred_at DESC, id DESC) WHERE deleted_at IS NULL"),
            SqlIndex("newest", "(occurred_at DESC, id DESC) WHERE deleted_at IS NULL"),
        ),
    )


class MessageReference(Record):
    """That a message id belongs to a conversation, be the message here or only named by others."""

    connection = fields.UUIDField(description="The connection whose message id it is")
    message_id = fields.CharField(max_length=500, description="The message id")
    conversation = fields.UUIDField(description="The conversation")

    options = EntityOptions(
        prefix="mrf",
        api=frozenset(),
        unique=(Unique(("connection", "message_id")),),
        indexes=(SqlIndex("conversation", "(conversation)"),),
    )


class Participant(Entity):
    """Somebody who took part in an interaction: who wrote it, who got it, who got a copy."""

    interaction: Any = fields.ForeignKeyField(
        "core.Interaction",
        related_name="participants",
        on_delete=fields.CASCADE,
        description="The interaction",
    )
    contact_point: Any = fields.ForeignKeyField(
        "core.ContactPoint",
        null=True,
        related_name="participations",
        on_delete=fields.SET_NULL,
        description="The address, where it is a customer's",
    )
    user: Any = fields.ForeignKeyField(
        "core.User",
        null=True,
        related_name="participations",
        on_delete=fields.SET_NULL,
        description="The user, where it is one of ours",
    )
    role = fields.CharField(max_length=10, description="What part: from, to, cc, bcc, or the agent who wrote it")
    address = fields.CharField(max_length=500, null=True, description="Address, in its normal form if it has one")
    name = fields.CharField(max_length=300, null=True, description="Name, as the message says it")

    options = EntityOptions(
        prefix="par",
        choices={"role": ("from", "to", "cc", "bcc", "agent")},
        personal=("address", "name"),
    )


class File(Entity):
    """A file that came or goes with a message. Its bytes are in the storage, not in the database."""

    interaction: Any = fields.ForeignKeyField(
        "core.Interaction",
        null=True,
        related_name="files",
        on_delete=fields.CASCADE,
        description="The message that it belongs to; null until one takes it along",
    )
    user: Any = fields.ForeignKeyField(
        "core.User",
        null=True,
        related_name="files",
        on_delete=fields.SET_NULL,
        description="The user who added it; null for what came with a message",
    )
    name = fields.CharField(max_length=300, description="File name, without any folder")
    media_type = fields.CharField(max_length=150, description="Media type, like application/pdf")
    size = fields.BigIntField(null=True, description="Size in bytes, once it is known")
    sha256 = fields.CharField(max_length=64, null=True, description="SHA-256 of its bytes, in hexadecimal digits")
    content_id = fields.CharField(max_length=300, null=True, description="What the message's HTML calls it")
    inline = fields.BooleanField(
        default=False, db_default=False, description="Whether it is shown within the message"
    )
    state = fields.CharField(
        max_length=10, default="stored", description="Whether its bytes are here, still to be fetched, or refused"
    )
    failure = fields.TextField(null=True, description="Why it was refused, or could not be fetched yet")
    reference = fields.CharField(max_length=1000, null=True, description="What the channel fetches it by")
    storage_key = fields.CharField(max_length=300, null=True, description="Where the storage keeps it")

    options = EntityOptions(
        prefix="fil",
        read_only={
            "interaction",
            "user",
            "size",
            "sha256",
            "content_id",
            "inline",
            "state",
            "failure",
            "reference",
        },
        secret={"storage_key"},
        # while no message has taken it along, it is nobody's but the one's who added it
        owner=(
            "user",
            "interaction.user",
            "interaction.customer.owner",
            "interaction.conversation.assignee",
            "interaction.conversation.team",
        ),
        choices={"state": ("stored", "pending", "refused")},
        personal=("name",),
        indexes=(SqlIndex("storage", "(storage_key)"),),
    )
