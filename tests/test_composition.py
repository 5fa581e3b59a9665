"""Whatever is wrong with a composition is told at once, by plugin, hook and name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel
from tortoise import fields

from amity import (
    Action,
    CompositionError,
    ContactPoint,
    Context,
    Count,
    Crm,
    Customer,
    Deal,
    Entity,
    EntityOptions,
    Job,
    Need,
    NeedPermission,
    Permission,
    Plugin,
    Purchases,
    RoleGrant,
    RolePermission,
    Scorer,
    SettingsError,
    StageMove,
    Subscriber,
    Sum,
    Team,
    Validator,
    batch,
    expression,
)
from amity.composition import Composition, compose
from amity.contracts import FieldDeclaration
from amity.entity import Record
from amity.settings import from_mapping, load


def composed(*plugins: type[Plugin[Any]], **settings: Any) -> Composition:
    return compose(from_mapping(settings), plugins)


def problems(*plugins: type[Plugin[Any]], **settings: Any) -> tuple[str, ...]:
    with pytest.raises(CompositionError) as caught:
        composed(*plugins, **settings)
    return caught.value.problems


def the_problem(*plugins: type[Plugin[Any]], **settings: Any) -> str:
    found = problems(*plugins, **settings)
    assert len(found) == 1, found
    return found[0]


class LoyaltySettings(BaseModel):
    points_per_dollar: int = 1


class LoyaltyAccount(Entity):
    """Points of a customer."""

    customer: Any = fields.OneToOneField("core.Customer", related_name="loyalty", on_delete=fields.CASCADE)
    points = fields.IntField(default=0, db_default=0)

    options = EntityOptions(prefix="loy")


class Award(BaseModel):
    customer_id: str
    points: int


async def award(context: Context, inputs: Sequence[Award]) -> Sequence[Any]:
    return [None for _ in inputs]


async def next_rewards(context: Context, parents: Any, arguments: Any) -> Sequence[str]:
    return ["coffee" for _ in parents]


class Loyalty(Plugin[LoyaltySettings]):
    """Points for customers."""

    name = "loyalty"
    version = "1.2"
    core = ">=0.1,<1"

    def entities(self) -> Sequence[type[Record]]:
        return [LoyaltyAccount]

    def fields(self) -> Sequence[FieldDeclaration]:
        return [
            expression(Customer, "deal_count", Count("deals")),
            batch(Customer, "next_reward", str, needs=["loyalty.points"], resolve=next_rewards),
        ]

    def permissions(self) -> Sequence[Permission]:
        return [Permission("loyalty.award", "Give points")]

    def actions(self) -> Sequence[Action[Any]]:
        return [Action("award_points", Award, run=award, permission="loyalty.award")]


def test_everything_composed_names_the_plugin_it_came_from() -> None:
    composition = composed(Loyalty)
    assert [info.name for info in composition.plugins] == ["core", "loyalty"]
    assert composition.plugin("loyalty").version == "1.2"
    assert composition.catalog["LoyaltyAccount"].plugin == "loyalty"
    customer = composition.catalog["Customer"]
    assert customer.expressions["deal_count"].plugin == "loyalty"
    assert customer.batches["next_reward"].plugin == "loyalty"
    assert customer.to_many["loyalty"].single
    assert composition.actions["award_points"].plugin == "loyalty"
    assert composition.permissions["loyalty.award"].plugin == "loyalty"


def test_two_compositions_in_one_process_do_not_see_each_other() -> None:
    with_it, without = composed(Loyalty), composed()
    assert "loyalty" in with_it.catalog["Customer"].to_many
    assert "loyalty" not in without.catalog["Customer"].to_many
    assert "LoyaltyAccount" not in without.catalog


def test_settings_are_typed_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = composed(Loyalty, loyalty={"points_per_dollar": 3}).plugin("loyalty").plugin
    assert plugin.settings.points_per_dollar == 3
    monkeypatch.setenv("AMITY_LOYALTY__POINTS_PER_DOLLAR", "7")
    plugin = composed(Loyalty, loyalty={"points_per_dollar": 3}).plugin("loyalty").plugin
    assert plugin.settings.points_per_dollar == 7


def test_core_settings_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMITY_DATABASE_URL", "sqlite:///elsewhere.sqlite3")
    monkeypatch.setenv("AMITY_SERVER__PORT", "9001")
    monkeypatch.setenv("AMITY_PLUGINS", "csv")
    settings = from_mapping({"database_url": "sqlite:///here.sqlite3", "plugins": ["graphql"]})
    assert settings.database_url == "sqlite:///elsewhere.sqlite3"
    assert settings.server.port == 9001
    assert settings.plugins == ["csv"]


# --- mistakes in settings -----------------------------------------------------------------------------------


def test_a_wrong_setting_is_told_with_its_place() -> None:
    text = the_problem(Loyalty, loyalty={"points_per_dollar": "many"})
    assert "'loyalty'" in text
    assert "points_per_dollar" in text
    assert "'many'" in text


def test_a_mistyped_setting_of_a_plugin_suggests_the_right_one() -> None:
    text = the_problem(Loyalty, loyalty={"points_per_dolar": 3})
    assert "unknown key 'points_per_dolar'; did you mean 'points_per_dollar'?" in text


def test_a_mistyped_section_suggests_the_right_one() -> None:
    text = the_problem(Loyalty, loyalti={"points_per_dollar": 3})
    assert "unknown section 'loyalti'; did you mean 'loyalty'?" in text


def test_a_section_of_a_plugin_that_is_not_enabled_is_told() -> None:
    text = the_problem(csv={"delimiter": ";"})
    assert "[csv]" in text
    assert "not enabled" in text
    assert 'add "csv" to plugins' in text


def test_a_mistyped_key_of_the_core_suggests_the_right_one() -> None:
    with pytest.raises(SettingsError, match="unknown key 'databse_url'; did you mean 'database_url'"):
        from_mapping({"databse_url": "sqlite:///x"})


def test_a_broken_toml_file_is_told_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "amity.toml"
    file.write_text('plugins = ["csv"\ndatabase_url = 1\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=r"amity\.toml: .*line 2, column 1"):
        load(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file; `amity init` writes one"):
        load(tmp_path / "amity.toml")


# --- mistakes in the choice of plugins ----------------------------------------------------------------------


def test_a_plugin_that_is_not_installed_is_told() -> None:
    text = the_problem(plugins=["cvs"])
    assert "plugin 'cvs' is enabled but not installed; did you mean 'csv'?" in text


def test_a_plugin_that_fails_to_import_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken_plugin.py").write_text("import no_such_module\n")
    info = tmp_path / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[amity.plugins]\nbroken = broken_plugin:Broken\n")
    code = "from amity import Crm\nCrm({'plugins': ['broken']})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert "plugin 'broken' fails to import (broken_plugin:Broken, from broken-plugin 1.0)" in done.stderr
    assert "ModuleNotFoundError: No module named 'no_such_module'" in done.stderr
    assert "repair or disable it" in done.stderr


def test_a_plugin_that_lacks_its_extra_is_told_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "bare_plugin.py").write_text("import no_such_module\n")
    info = tmp_path / "bare_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bare-plugin\nVersion: 1.0\nProvides-Extra: bare\n"
    )
    (info / "entry_points.txt").write_text("[amity.plugins]\nbare = bare_plugin:Bare\n")
    done = subprocess.run(
        [sys.executable, "-c", "from amity import Crm\nCrm({'plugins': ['bare']})"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 1
    assert "install what it needs with pip install 'bare-plugin[bare]', or disable it" in done.stderr


def test_a_plugin_for_another_core_refuses_to_start_and_names_both_versions() -> None:
    class Old(Plugin):
        name = "old"
        version = "2.0"
        core = ">=7"

    assert the_problem(Old) == "plugin 'old' 2.0 needs Amity >=7; this is 0.1.0"


def test_a_missing_requirement_is_told() -> None:
    class Needy(Plugin):
        name = "needy"
        requires = ("commerce>=0.2",)

    text = the_problem(Needy)
    assert "plugin 'needy' requires 'commerce>=0.2', which is not enabled" in text


def test_a_requirement_of_the_wrong_version_is_told_with_both() -> None:
    class Needy(Plugin):
        name = "needy"
        requires = ("loyalty>=2",)

    text = the_problem(Loyalty, Needy)
    assert text == "plugin 'needy' requires 'loyalty>=2', but loyalty is 1.2"


def test_a_cycle_is_told_with_its_path() -> None:
    class One(Plugin):
        name = "one"
        after = ("two",)

    class Two(Plugin):
        name = "two"
        requires = ("one",)

    assert "plugins wait for each other: one → two → one" in the_problem(One, Two)


def test_requirements_come_first_whatever_the_order() -> None:
    class Late(Plugin):
        name = "late"
        requires = ("loyalty",)

    assert [info.name for info in composed(Late, Loyalty).plugins] == ["core", "loyalty", "late"]


def test_two_plugins_of_one_name_are_told() -> None:
    class Other(Plugin):
        name = "loyalty"

    assert "two plugins are named 'loyalty'" in the_problem(Loyalty, Other)


def test_what_is_no_plugin_is_told() -> None:
    class NoPlugin:
        name = "nothing"

    assert "must derive from amity.Plugin" in the_problem(NoPlugin)  # type: ignore[arg-type]


# --- mistakes in hooks --------------------------------------------------------------------------------------


def test_a_mistyped_hook_suggests_the_right_one() -> None:
    class Typo(Plugin):
        name = "typo"

        def entitys(self) -> Sequence[type[Record]]:
            return []

    text = the_problem(Typo)
    assert "plugin 'typo': Typo.entitys is no hook; did you mean 'entities'?" in text


def test_helpers_start_with_an_underscore() -> None:
    class Helpful(Plugin):
        name = "helpful"

        def _compute(self) -> int:
            return 1

        def compute_everything(self) -> int:
            return self._compute()

    text = the_problem(Helpful)
    assert "Helpful.compute_everything is no hook" in text
    assert "Helpers start with an underscore" in text


def test_a_hook_with_another_argument_is_told_with_both_signatures() -> None:
    class Odd(Plugin):
        name = "odd"

        def entities(self, everything: bool) -> Sequence[type[Record]]:  # type: ignore[override]
            return []

    text = the_problem(Odd)
    assert "plugin 'odd'" in text
    assert "entities" in text
    assert "everything" in text


def test_an_async_hook_is_refused() -> None:
    class Async(Plugin):
        name = "asynchronous"

        async def entities(self) -> Sequence[type[Record]]:  # type: ignore[override]
            return []

    assert "the hook entities is async; hooks only declare" in the_problem(Async)


def test_a_hook_that_fails_is_told() -> None:
    class Failing(Plugin):
        name = "failing"

        def permissions(self) -> Sequence[Permission]:
            raise RuntimeError("no license")

    assert the_problem(Failing) == ("plugin 'failing': the hook permissions fails: RuntimeError: no license")


def test_a_hook_that_returns_something_else_is_told() -> None:
    class Strange(Plugin):
        name = "strange"

        def validators(self) -> Sequence[Validator]:
            return ["customer"]  # type: ignore[list-item]

    assert "the hook validators returned 'customer'; expected values of Validator" in the_problem(Strange)


def test_a_hook_of_a_layer_that_is_not_enabled_is_skipped() -> None:
    class Layered(Plugin):
        name = "layered"

        def graphql(self, types: Any) -> None:
            raise AssertionError("never called without the layer")

    assert composed(Layered).plugin("layered")


# --- mistakes in entities -----------------------------------------------------------------------------------


def test_two_entities_of_one_name_are_told_with_the_way_out() -> None:
    class LoyaltyAccount(Entity):
        """Another one."""

        options = EntityOptions(prefix="oth")

    class Other(Plugin):
        name = "other"

        def entities(self) -> Sequence[type[Record]]:
            return [LoyaltyAccount]

    text = "\n".join(problems(Loyalty, Other))
    assert "plugins 'loyalty' and 'other' both claim the type 'LoyaltyAccount'" in text
    assert '"other.LoyaltyAccount" = "OtherLoyaltyAccount"' in text
    renamed = {"rename": {"other.LoyaltyAccount": "OtherAccount"}}
    composition = composed(Loyalty, Other, schema=renamed)
    assert composition.catalog["OtherAccount"].plugin == "other"
    assert composition.catalog["OtherAccount"].table == "other_loyalty_account"


def test_names_are_compared_as_graphql_compares_them() -> None:
    class Clash(Plugin):
        name = "clash"

        def fields(self) -> Sequence[FieldDeclaration]:
            return [
                expression(Customer, "la_ter", Count("deals")),
                expression(Customer, "la__ter", Count("deals")),
            ]

    text = the_problem(Clash)
    assert "both claim Customer.laTer" in text


def test_two_plugins_that_claim_one_field_can_be_renamed() -> None:
    class Rival(Plugin):
        name = "rival"

        def fields(self) -> Sequence[FieldDeclaration]:
            return [expression(Customer, "deal_count", Sum("deals.value_minor"))]

    text = the_problem(Loyalty, Rival)
    assert "plugins 'loyalty' and 'rival' both claim Customer.dealCount" in text
    assert '"rival.Customer.deal_count" = "rival_deal_count"' in text
    renamed = {"rename": {"rival.Customer.deal_count": "rival_deal_count"}}
    customer = composed(Loyalty, Rival, schema=renamed).catalog["Customer"]
    assert customer.expressions["rival_deal_count"].plugin == "rival"


def test_a_rename_of_nothing_is_told() -> None:
    assert '[schema.rename] has "nobody.Thing"' in the_problem(schema={"rename": {"nobody.Thing": "It"}})


def test_a_target_that_is_absent_is_told() -> None:
    class Reach(Plugin):
        name = "reach"

        def fields(self) -> Sequence[FieldDeclaration]:
            return [expression(LoyaltyAccount, "twice", Count("entries"))]

    text = the_problem(Reach)
    assert "plugin 'reach': the field 'twice' has the target" in text
    assert "LoyaltyAccount is no entity of this CRM" in text
    assert "Is the plugin that brings it enabled?" in text


def test_a_reference_to_an_absent_entity_is_told() -> None:
    class Orphan(Entity):
        """Refers to what is not there."""

        order: Any = fields.ForeignKeyField("commerce.Order", on_delete=fields.CASCADE)
        options = EntityOptions(prefix="orp")

    class Orphans(Plugin):
        name = "orphans"

        def entities(self) -> Sequence[type[Record]]:
            return [Orphan]

    text = the_problem(Orphans)
    assert "Orphan.order refers to 'commerce.Order', which is absent; enable the plugin 'commerce'" in text


def test_an_expression_that_names_what_is_absent_is_told() -> None:
    class Wrong(Plugin):
        name = "wrong"

        def fields(self) -> Sequence[FieldDeclaration]:
            return [expression(Customer, "points", Sum("deels.value"))]

    text = the_problem(Wrong)
    assert "the field 'points' on Customer: Customer has no relation 'deels'" in text


def test_a_batch_field_that_needs_what_is_absent_is_told() -> None:
    class Wrong(Plugin):
        name = "wrong"

        def fields(self) -> Sequence[FieldDeclaration]:
            return [batch(Customer, "reward", str, needs=["organization.nam"], resolve=next_rewards)]

    text = the_problem(Wrong)
    assert "needs 'organization.nam': Customer has no field 'nam'" in text


def test_all_mistakes_of_an_entity_are_told_together() -> None:
    class Messy(Entity):
        """Everything wrong."""

        price = fields.DecimalField(max_digits=10, decimal_places=2)
        code = fields.CharField(max_length=10, unique=True)
        tags: Any = fields.ManyToManyField("core.Team")
        options = EntityOptions(
            prefix="TOO LONG",
            api={"read", "destroy"},  # type: ignore[arg-type]
            searchable=("code",),
            unique=("cod",),
            choices={"code": ("A-B",)},
            money={"value": ("amount", "currency")},
        )

    class Messes(Plugin):
        name = "messes"

        def entities(self) -> Sequence[type[Record]]:
            return [Messy]

    text = "\n".join(problems(Messes))
    for part in (
        "Messy.price: a DecimalField is not supported; store integer minor units in a BigIntField",
        "Messy.code: unique=True ignores that rows can be deleted",
        "Messy.tags: many-to-many fields are not supported",
        "prefix is 'TOO LONG'",
        "api has destroy",
        "needs a column search_text",
        "options.unique: there is no column 'cod'",
        "values are lower-case words",
        "needs a BigIntField 'amount'",
        "needs a CharField 'currency'",
    ):
        assert part in text


# --- mistakes in declarations -------------------------------------------------------------------------------


def test_an_action_must_ask_for_a_declared_permission() -> None:
    class Sneaky(Plugin):
        name = "sneaky"

        def actions(self) -> Sequence[Action[Any]]:
            return [Action("sneak", Award, run=award, permission="sneaky.sneak")]

    text = the_problem(Sneaky)
    assert "the action 'sneak' asks for the permission 'sneaky.sneak'; declare it" in text


def test_a_permission_begins_with_the_name_of_its_plugin() -> None:
    class Grabby(Plugin):
        name = "grabby"

        def permissions(self) -> Sequence[Permission]:
            return [Permission("core.move_everything", "Too much")]

    assert "must be named grabby.<word>" in the_problem(Grabby)


def test_an_action_can_not_take_the_name_of_a_mutation() -> None:
    class Rival(Plugin):
        name = "rival"

        def permissions(self) -> Sequence[Permission]:
            return [Permission("rival.do", "Do")]

        def actions(self) -> Sequence[Action[Any]]:
            return [Action("create_customer", Award, run=award, permission="rival.do")]

    assert "plugins 'core' and 'rival' both claim the action 'createCustomer'" in the_problem(Rival)


def test_a_validator_needs_columns_that_are_there() -> None:
    async def check(context: Context, rows: Any) -> Sequence[Any]:
        return []

    class Strict(Plugin):
        name = "strict"

        def validators(self) -> Sequence[Validator]:
            return [Validator(Customer, needs=["nam"], check=check)]

    assert "a validator of Customer needs 'nam', which is no column" in the_problem(Strict)


def test_subscribers_have_names_of_their_own() -> None:
    async def run(context: Context, events: Any) -> None:
        return None

    class Listening(Plugin):
        name = "listening"

        def subscribers(self) -> Sequence[Subscriber]:
            return [Subscriber("mail", ["customer.*"], run), Subscriber("mail", ["deal.*"], run)]

    assert "both have a subscriber 'mail'" in the_problem(Listening)


def test_two_commands_of_one_name_are_told() -> None:
    class Commanding(Plugin):
        name = "commanding"

        def commands(self) -> Sequence[click.Command]:
            return [click.Command("migrate")]

    text = the_problem(Commanding)
    assert "plugins 'core' and 'commanding' both claim the command 'migrate'" in text


def test_one_error_lists_everything() -> None:
    class Typo(Plugin):
        name = "typo"

        def entitys(self) -> None: ...

        def feelds(self) -> None: ...

    with pytest.raises(CompositionError) as caught:
        Crm({}, [Typo])
    assert "2 problems" in str(caught.value)
    assert len(caught.value.problems) == 2


# --- scorers, purchases, jobs ------------------------------------------------------------------------------


class Greeting(Entity):
    """Something that was said; no plugin brings it."""

    options = EntityOptions(prefix="gre")


class Output(BaseModel):
    number: int


class BadOutput(BaseModel):
    tags: list[str]


class HidingOutput(BaseModel):
    customer: str


class TakenOutput(BaseModel):
    version: str


def select(context: Any, query: Any) -> str:
    return ""


async def rows_of(context: Any, ids: Any) -> AsyncIterator[Any]:
    yield []


async def not_a_generator(context: Any, ids: Any) -> Any:
    return []


async def run_job(context: Any, payload: Any) -> None: ...


def plain_run(context: Any, payload: Any) -> None: ...


def scoring(**given: Any) -> type[Plugin[Any]]:
    class Scoring(Plugin):
        """Scores."""

        name = "scoring"

        def scorers(self) -> Sequence[Scorer]:
            defaults: dict[str, Any] = {"name": "fit", "version": "1", "target": Customer, "output": Output}
            if not {"select", "compute", "blocking"} & set(given):
                defaults["select"] = select
            return [Scorer(**(defaults | given))]

    return Scoring


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"name": "Fit"}, "its name must be a lower-case word of at most 40 characters; it becomes a field"),
        ({"version": ""}, "its version is ''; expected a text like '1' or '2.1'"),
        ({"output": dict}, "its output is <class 'dict'>; expected a pydantic model"),
        (
            {"output": BadOutput},
            "the output 'tags' is a list; expected str, Literal of lower-case words, int, float",
        ),
        ({"output": HidingOutput}, "the output 'customer' would hide the scored record; choose another name"),
        ({"output": TakenOutput}, "the output 'version' must be a lower-case word, and none of"),
        ({"select": None}, "expected select or compute, and it has neither"),
        ({"select": select, "compute": rows_of}, "expected select or compute, and it has both"),
        ({"select": not_a_generator}, "its select is async; it only writes SQL, and is a plain function"),
        ({"compute": not_a_generator}, "its compute is no asynchronous generator; define it with async def"),
        ({"select": select, "blocking": plain_run}, "it is blocking without compute"),
        (
            {"compute": rows_of, "blocking": run_job},
            "its blocking function is async; it runs in a process of its own",
        ),
        (
            {"compute": rows_of, "blocking": lambda b: []},
            "can't be sent to another process; define it at the top of",
        ),
        ({"schedule": "at night"}, "its schedule is 'at night' ("),
        ({"schedule": "0 3 30 2 *"}, "its schedule is '0 3 30 2 *' (bad day-of-month)"),
        ({"timeout": timedelta(0)}, "its timeout is 0:00:00; expected more than nothing"),
        ({"target": Greeting}, "its target Greeting is absent; is the plugin that brings it enabled?"),
        ({"target": StageMove}, "its target StageMove is no Entity"),
    ],
)
def test_a_scorer_that_is_wrong_is_told(given: dict[str, Any], problem: str) -> None:
    found = the_problem(scoring(**given))
    assert found.startswith(f"plugin 'scoring': the scorer {given.get('name', 'fit')!r}: ")
    assert problem in found


def test_a_scorer_that_is_none_is_told() -> None:
    class Wrong(Plugin):
        """Returns a text."""

        name = "wrong"

        def scorers(self) -> Any:
            return ["fit"]

    assert the_problem(Wrong) == ("plugin 'wrong': the hook scorers returned 'fit'; expected values of Scorer")


def test_scorers_of_one_name_are_told() -> None:
    class Other(scoring()):  # type: ignore[misc]
        """Scores as well."""

        name = "other"

    assert the_problem(scoring(), Other) == (
        "plugins 'scoring' and 'other' both have a scorer 'fit'; its name keys its history and must be unique"
    )


def test_a_scorer_named_like_a_field_is_told() -> None:
    assert "would add the relation 'deals' to Customer" in the_problem(scoring(name="deals"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"customer": "owner"}, "customer is 'owner'; expected a relation to Customer: customer"),
        ({"time": "name"}, "time is 'name'; expected a date or time column: created_at"),
        ({"amount": "value_minor"}, "amount is 'value_minor'; expected a money field: value"),
        ({"where": {"staeg": {}}}, "where: where.staeg: Deal has no 'staeg'; did you mean 'stage'?"),
    ],
)
def test_purchases_that_are_wrong_are_told(changes: dict[str, Any], problem: str) -> None:
    given = {"customer": "customer", "time": "closed_on", "amount": "value"} | changes

    class Buying(Plugin):
        """Buys."""

        name = "buying"

        def purchases(self) -> Sequence[Purchases]:
            return [Purchases(Deal, **given)]

    assert the_problem(Buying).startswith(f"plugin 'buying': the purchases of Deal: {problem}".split("where.")[0])


def test_purchases_of_what_is_absent_are_told() -> None:
    class Buying(Plugin):
        """Buys."""

        name = "buying"

        def purchases(self) -> Sequence[Purchases]:
            return [Purchases(Greeting, "customer", "created_at", "value")]

    assert "are absent: Greeting is no entity of this CRM" in the_problem(Buying)


class NeedsName(BaseModel):
    name: str


class Defaults(BaseModel):
    name: str = ""


def working(**given: Any) -> type[Plugin[Any]]:
    class Working(Plugin):
        """Works."""

        name = "working"

        def jobs(self) -> Sequence[Job[Any]]:
            defaults: dict[str, Any] = {"name": "work", "payload": Output, "run": run_job}
            return [Job(**(defaults | given))]

    return Working


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"name": "do it"}, "its name must be a lower-case word with underscores"),
        ({"payload": dict}, "its payload is <class 'dict'>; expected a pydantic model"),
        (
            {"payload": NeedsName, "schedule": "0 3 * * *"},
            "it has a schedule, but its payload needs name; give",
        ),
        ({"run": plain_run}, "its run is not async; define it with async def"),
        ({"payload": Defaults, "schedule": "0 3 * *"}, "its schedule is '0 3 * *' ("),
        ({"attempts": 0}, "its attempts are 0; expected at least 1"),
        ({"timeout": timedelta(0)}, "its timeout is 0:00:00; expected more than nothing"),
    ],
)
def test_a_job_that_is_wrong_is_told(given: dict[str, Any], problem: str) -> None:
    found = the_problem(working(**given))
    assert found.startswith(f"plugin 'working': the job {given.get('name', 'work')!r}: {problem}")


def test_jobs_of_one_name_are_told() -> None:
    found = the_problem(scoring(), working(name="compute_fit"))
    assert found == (
        "plugins 'scoring' and 'working' both have a job 'compute_fit'; "
        "its name is kept with what was enqueued and must be unique"
    )


# --- rights -------------------------------------------------------------------------------------------------


def test_what_is_wrong_with_grants_is_told_by_plugin_and_name() -> None:
    class Generous(Plugin):
        name = "generous"

        def grants(self) -> Sequence[Any]:
            return [
                RoleGrant("chief", Customer, {"read"}),
                RoleGrant("agent", "*", {"read"}),
                RolePermission("agent", "core.move_deal"),
                RolePermission("agent", "generous.give"),
                "everything",
            ]

    told = "plugin 'generous': a grant to the role"
    assert problems(Generous) == (
        f"{told} 'chief': there is no such role; there are admin, agent, read-only, portal",
        f"{told} 'chief' on Customer: a plugin gives rights on its own entities alone",
        f"{told} 'agent' on *: a plugin gives rights on its own entities alone",
        f"{told} 'agent': 'core.move_deal' is no permission of this plugin; it gives its own",
        f"{told} 'agent': there is no permission 'generous.give'; declare it in the permissions hook",
        "plugin 'generous': the hook grants returned 'everything'; expected values of RoleGrant or RolePermission",
    )


def test_what_is_wrong_with_rows_fields_and_actions_of_a_grant_is_told() -> None:
    class Careless(Loyalty):
        name = "loyalty"

        def grants(self) -> Sequence[RoleGrant]:
            entity = self.entities()[0]
            return [
                RoleGrant("agent", entity, {"paint"}),
                RoleGrant("agent", entity, {"read"}, "some"),
                RoleGrant("agent", entity, {"read"}, {"colour": {"eq": "red"}}),
                RoleGrant("agent", entity, {"read"}, fields=["pionts"]),
            ]

    found = problems(Careless)
    assert [problem.split(": ", 2)[2] for problem in found] == [
        "unknown actions paint; there are read, create, update, delete",
        "rows: is 'some'; expected all, own, team, none, or a filter",
        next(p.split(": ", 2)[2] for p in found if "colour" in p),
        next(p.split(": ", 2)[2] for p in found if "pionts" in p),
    ]
    assert all(p.startswith("plugin 'loyalty': a grant to the role 'agent' on ") for p in found)


def test_what_is_wrong_with_needs_is_told_by_plugin_and_name() -> None:
    class Greedy(Loyalty):
        name = "loyalty"

        def needs(self) -> Sequence[Any]:
            return [
                Need(self.entities()[0], {"read"}),
                Need(ContactPoint, {"read"}),
                Need(Deal, {"update"}, fields=["nmae"]),
                Need(Team, {"update"}),
                NeedPermission("core.fly"),
            ]

    found = problems(Greedy)
    entity = Greedy().entities()[0].__name__
    own = f"plugin 'loyalty': a need of {entity!r}: the plugin may do everything with its own entities already"
    assert own in found
    assert (
        "plugin 'loyalty': a need of ContactPoint without Customer, which it belongs to (ContactPoint.customer), "
        "reaches nothing; add Need(Customer, {'read'})" in found
    )
    assert any("a need of 'Deal': fields: Deal has no field 'nmae'" in problem for problem in found)
    assert "plugin 'loyalty': a need to update core.Team without reading it reaches nothing; add 'read'" in found
    assert any("there is no permission 'core.fly'" in problem for problem in found)
    assert len(found) == 5


def test_owners_and_guards_lead_somewhere() -> None:
    class Parcel(Entity):
        """Something that was sent."""

        customer: Any = fields.ForeignKeyField("core.Customer", related_name="parcels", on_delete=fields.CASCADE)
        weight = fields.IntField(default=0, db_default=0)

        options = EntityOptions(
            prefix="pcl", owner=("customer.owner", "customer", "wieght"), guarded={"weight": "post.weigh"}
        )

    class Post(Plugin):
        name = "post"

        def entities(self) -> Sequence[type[Record]]:
            return [Parcel]

    told, expected = (
        "plugin 'post': Parcel.options",
        "expected relations to one row, like 'owner' or 'customer.owner'",
    )
    assert problems(Post) == (
        f"{told}.owner: 'customer' does not lead to a user or a team; {expected}",
        f"{told}.owner: 'wieght' does not lead to a user or a team; {expected}",
        f"{told}.guarded: there is no permission 'post.weigh'; declare it in the permissions hook",
    )
