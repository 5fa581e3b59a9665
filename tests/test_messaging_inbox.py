"""The inbox of a team, with last messages and customers: one statement."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from amity import Connection, Conversation, Team, Update, User
from amity.entity import encode_id
from amity.testing import recorded
from amity_graphql import GraphQL, execute

from .conftest import MakeCrm
from .courier import NOON, couriers, note

INBOX = """
query Inbox($team: ID!) {
  conversations(
    where: {status: {eq: OPEN}, team: {id: {eq: $team}}}
    orderBy: [{lastAt: DESC}]
    first: 20
  ) {
    totalCount
    nodes {
      id subject unread lastAt
      assignee { name }
      customer { name }
      interactions(first: 1, orderBy: [{occurredAt: DESC}]) { nodes { direction body delivery } }
    }
  }
}
"""


async def test_the_inbox_of_a_team_is_one_statement(make_crm: MakeCrm, tmp_path: Path) -> None:
    async with couriers(make_crm, tmp_path, GraphQL) as post:
        made = await post.session.create(Team, [{"name": "Support"}, {"name": "Sales"}])
        support, sales = (encode_id("tea", id) for id in made.ids if id is not None)
        users = await post.session.create(User, [{"name": "Mia", "team_id": support}])
        await post.session.update(Connection, [Update(post.id, {"team_id": support})])
        await post.customer("Ann", "ann")

        def at(hour: int) -> Any:
            return NOON + timedelta(hours=hour)

        await post.brings(
            note("a1", occurred_at=at(0), subject="Lamp"),
            note("b1", "bob", occurred_at=at(1), subject="Chair"),
            note("c1", "cid", occurred_at=at(2), subject="Desk"),
            note("d1", "dan", occurred_at=at(3), subject="Sofa"),
        )
        by_subject = {
            row["subject"]: row["id"]
            for row in await post.session.find(Conversation).select("id", "subject").all()
        }
        await post.session.update(
            Conversation,
            [
                Update(by_subject["Chair"], {"status": "closed"}),
                Update(by_subject["Desk"], {"team_id": sales}),
                Update(by_subject["Sofa"], {"assignee_id": users.ids[0]}),
            ],
        )
        await post.brings(note("a2", occurred_at=at(4), replies_to=["a1"], body="Any news?"))
        with recorded() as statements:
            result = await execute(post.crm, post.session, INBOX, {"team": support})
        assert not result.errors
        assert len(statements) == 1
        assert result.data is not None
        found = result.data["conversations"]
        assert found["totalCount"] == "2"
        assert [
            (row["subject"], row["unread"], row["assignee"], row["customer"], row["interactions"]["nodes"])
            for row in found["nodes"]
        ] == [
            ("Lamp", 2, None, {"name": "Ann"}, [{"direction": "INBOUND", "body": "Any news?", "delivery": None}]),
            ("Sofa", 1, {"name": "Mia"}, None, [{"direction": "INBOUND", "body": "d1", "delivery": None}]),
        ]
