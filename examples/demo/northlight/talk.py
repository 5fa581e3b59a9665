"""What Northlight, the demo's company, and its customers talk about: lighting for shops, offices and homes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """A thing to talk about: how it begins, and what is answered. ``{…}`` is filled in."""

    subject: str
    inbound: tuple[str, ...]
    outbound: tuple[str, ...]
    weight: int = 1


PRODUCTS: tuple[tuple[str, int], ...] = (
    ("Aurora ceiling light", 180),
    ("Beam track system", 950),
    ("Candela desk lamp", 95),
    ("Dusk outdoor wall light", 140),
    ("Eclipse pendant", 320),
    ("Firefly emergency light", 75),
    ("Glow panel 60x60", 110),
    ("Halo ring light", 260),
    ("Lumen street light", 1400),
    ("Meridian control unit", 780),
    ("Polar freezer light", 210),
    ("Zenith skylight", 1900),
)
"""Name, and a price in US dollars to start from."""

SITES: tuple[str, ...] = (
    "main hall", "warehouse", "flagship store", "second floor", "reading room", "showroom", "parking garage",
    "restaurant", "lobby", "workshop", "stairwell", "terrace", "kitchen", "gallery", "meeting rooms", "cold store",
)  # fmt: skip

TOPICS: tuple[Topic, ...] = (
    Topic(
        "Quote for {product}",
        (
            "Could you send us a quote for {count} × {product}? It is for the {site}.",
            "We are comparing offers for the {site}. What would {count} × {product} cost, fitting included?",
        ),
        (
            "Thank you for asking. The quote for {count} × {product} is attached; it is valid for 30 days.",
            "As discussed, here is our offer for the {site}. Tell me if the quantities should change.",
        ),
        5,
    ),
    Topic(
        "Order {order}",
        (
            "Please confirm order {order} and the delivery date.",
            "We would like to add {count} × {product} to order {order}. Is that still possible?",
        ),
        (
            "Order {order} is confirmed. It leaves our warehouse on {day}.",
            "Order {order} has been changed as you wished; the new confirmation is attached.",
        ),
        5,
    ),
    Topic(
        "Delivery of order {order}",
        (
            "Where is order {order}? The fitters are waiting at the {site}.",
            "Two boxes of order {order} arrived damaged. Photos are attached.",
        ),
        (
            "The carrier has order {order} and will deliver on {day}. Sorry for the wait.",
            "We are sending replacements for the damaged boxes of order {order} today, free of charge.",
        ),
        4,
    ),
    Topic(
        "Invoice {invoice}",
        (
            "Invoice {invoice} names the old address. Could you issue it again?",
            "We have paid invoice {invoice}; please stop the reminders.",
        ),
        (
            "The corrected invoice {invoice} is attached.",
            "A reminder that invoice {invoice} is due on {day}. If it is paid already, please ignore this.",
        ),
        3,
    ),
    Topic(
        "{product} flickers",
        (
            "Since last week the {product} in the {site} flickers in the evening.",
            "One {product} has failed after three months. Is it under warranty?",
        ),
        (
            "That is most likely the driver. A technician can come on {day}; would the morning suit you?",
            "It is under warranty. We are sending a new {product} today.",
        ),
        3,
    ),
    Topic(
        "Visit to the {site}",
        ("Could somebody have a look at the {site} and suggest a layout?",),
        (
            "I would like to come by on {day} to measure the {site}. Does 10:00 suit you?",
            "Thank you for the tour of the {site}. The light plan follows by the end of the week.",
        ),
        3,
    ),
    Topic(
        "Light plan for the {site}",
        ("The plan for the {site} looks good. Could it be a little warmer, 2,700 K instead of 3,000?",),
        ("Here is the light plan for the {site}: {count} × {product}, with a consumption of half of today's.",),
        3,
    ),
    Topic(
        "Service contract",
        ("Our service contract ends soon. What would another two years cost?",),
        ("Your service contract ends on {day}. I have prepared an offer to renew it.",),
        2,
    ),
    Topic(
        "Newsletter: {product}",
        ("Please take me off the mailing list.",),
        ("New this month: the {product}. Customers who order before {day} get ten percent off.",),
        2,
    ),
    Topic(
        "Question about the {product}",
        (
            "Can the {product} be dimmed?",
            "Does the {product} come in black?",
            "Is the {product} fit for outdoors?",
        ),
        ("Yes, the {product} can; the data sheet is attached.", "Not yet, but from {day} on it can be ordered."),
        4,
    ),
    Topic(
        "Thank you",
        ("The {site} looks wonderful. Thank you, and please pass it on to your fitters!",),
        ("Thank you for your trust. If you are happy with the {site}, we would be glad of a review.",),
        1,
    ),
)

CALLS: tuple[str, ...] = (
    "Asked about delivery of order {order}",
    "Called back about the quote for {product}",
    "Complaint: {product} in the {site}",
    "Wants a visit to the {site}",
    "Negotiated the price of {count} × {product}",
    "Left a message, will try again",
    "Talked through the light plan for the {site}",
    "Changed the delivery address of order {order}",
    "Renewal of the service contract",
    "Checked whether invoice {invoice} was paid",
)
TEXTS: tuple[tuple[str, ...], tuple[str, ...]] = (
    (
        "Is somebody at the {site} now?",
        "Please call me back.",
        "Thanks, that works!",
        "We are running late, please wait at the {site}.",
        "When does order {order} arrive?",
    ),
    (
        "Your delivery {order} arrives today between 10 and 12.",
        "Our fitter is on the way to the {site}.",
        "Order {order} is ready to be collected.",
        "Reminder: our visit to the {site} is on {day}.",
    ),
)
"""From customers, and from us."""
FOLLOW_UPS: tuple[tuple[str, ...], tuple[str, ...]] = (
    (
        "Thank you, that is clear now.",
        "Perfect, please go ahead.",
        "Good. Could you put that into the contract, too?",
        "I have to ask my manager first and will come back to you on {day}.",
        "One more thing: can the fitting be done before eight in the morning?",
    ),
    (
        "You are welcome. Just write if anything else comes up.",
        "Done; you will get a confirmation in a minute.",
        "Of course. I have noted it for the {site}.",
        "Have you had a chance to think about it? I can keep the price until {day}.",
    ),
)
"""What follows the first answer: from customers, and from us."""
CHATS: tuple[str, ...] = (
    "Is the {product} in stock?",
    "How long is the warranty of the {product}?",
    "Can I change order {order}?",
    "Which {product} fits a {site}?",
    "Do you deliver on Saturdays?",
    "My discount code does not work",
)
LETTERS: tuple[str, ...] = (
    "Signed contract for the {site}",
    "Warranty certificate, order {order}",
    "Reminder: invoice {invoice}",
    "Catalog of the season",
    "Termination of the service contract",
)
