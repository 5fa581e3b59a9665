"""Names, phone numbers and currencies of the places where the demo's customers live."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Culture:
    """A place: names as they are written there, and in Latin letters where they are written in others.

    A name is ``"native"`` or ``"native|latin"``. ``phone`` and ``mobile`` are patterns in which every ``#`` is
    a digit; where a country keeps numbers for fiction, they are of those.
    """

    locale: str
    weight: int
    currency: str
    phone: str
    mobile: str
    given: tuple[str, ...]
    family: tuple[str, ...]
    family_first: bool = False
    company_forms: tuple[str, ...] = ("{name}",)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CULTURES: tuple[Culture, ...] = (
    Culture(
        "en-US",
        22,
        "USD",
        "+1212555####",
        "+1415555####",
        _words(
            "Olivia Liam Emma Noah Ava Ethan Sophia Mason Grace Logan Chloe Lucas Zoe Caleb Naomi Isaac "
            "Hannah Miles Ruth Owen Tasha Darnell Carmen Jamal"
        ),
        _words(
            "Smith Johnson Brown Davis Miller Wilson Moore Taylor Anderson Thomas Jackson White Harris Clark "
            "Lewis Walker Hall Young King Wright Hill Carter Brooks Reed"
        ),
        company_forms=("{name} Inc.", "{name} LLC", "{name} & Sons", "The {name} Company", "{name} Group"),
    ),
    Culture(
        "en-GB",
        10,
        "GBP",
        "+44207946####",
        "+447700900###",
        _words("Amelia Oliver Isla Harry Poppy Alfie Freya Arthur Imogen Rhys Fiona Callum Siobhan Gareth"),
        _words("Hughes Walsh Murphy Campbell Stewart Davies Evans Khan Patel Fraser Barnes Holmes Lloyd Doyle"),
        company_forms=("{name} Ltd", "{name} plc", "{name} & Partners"),
    ),
    Culture(
        "de-DE",
        11,
        "EUR",
        "+493023125###",
        "+4915223#####",
        _words("Anna Lukas Lena Jonas Mia Felix Jürgen Käthe Björn Sabine Uwe Heike Matthias Zoë Günter Anke"),
        _words("Müller Schmidt Schneider Fischer Weber Wagner Becker Schäfer Köhler Groß Krüger Vogel Böhm Jäger"),
        company_forms=("{name} GmbH", "{name} AG", "{name} KG", "Gebrüder {name} OHG"),
    ),
    Culture(
        "de-CH",
        4,
        "CHF",
        "+41445550###",
        "+4179555####",
        _words("Urs Reto Beat Ursina Flurin Regula Corina Lorin Nadja Andri"),
        _words("Zürcher Ammann Bühler Caduff Keller Meili Rüegg Gasser Tschudi Wyss"),
        company_forms=("{name} AG", "{name} GmbH"),
    ),
    Culture(
        "fr-FR",
        9,
        "EUR",
        "+3319900####",
        "+3363998####",
        _words("Léa Hugo Chloé Louis Inès Jules Zoé Théo Amélie Mathis Aïcha Étienne Noémie Rémi Océane Loïc"),
        _words("Martin Bernard Dubois Lefèvre Moreau Fournier Mercier Garnier Lemaître Béranger Noël Chevalier"),
        company_forms=("{name} SARL", "{name} SA", "Établissements {name}", "{name} et Fils"),
    ),
    Culture(
        "es-ES",
        6,
        "EUR",
        "+3491555####",
        "+34655######",
        _words("Lucía Martín Sofía Hugo Íñigo Paula Álvaro Begoña Nuria Óscar Marta Rubén Núria Jesús"),
        _words("García Fernández González Ibáñez Muñoz Núñez Ortega Peña Sánchez Vázquez Castaño Domínguez"),
        company_forms=("{name} S.L.", "{name} S.A.", "Hermanos {name}"),
    ),
    Culture(
        "es-MX",
        4,
        "MXN",
        "+52555550####",
        "+52555551####",
        _words("Ximena Santiago Valeria Diego Guadalupe Emiliano Fernanda Joaquín Renata Andrés"),
        _words("Hernández López Martínez Ramírez Cruz Flores Gutiérrez Mendoza Castillo Ríos"),
        company_forms=("{name} S.A. de C.V.", "Grupo {name}"),
    ),
    Culture(
        "pt-BR",
        5,
        "BRL",
        "+55115550####",
        "+551195550####",
        _words("João Maria Inês Thiago Luísa Antônio Beatriz Caio Letícia Otávio Camila Vinícius"),
        _words("Silva Souza Araújo Gonçalves Conceição Magalhães Teixeira Brandão Falcão Moura"),
        company_forms=("{name} Ltda.", "{name} S.A.", "Irmãos {name}"),
    ),
    Culture(
        "it-IT",
        5,
        "EUR",
        "+390655550###",
        "+39347555####",
        _words("Giulia Matteo Chiara Niccolò Martina Davide Sofia Riccardo Elena Tommaso"),
        _words("Rossi Bianchi Esposito Colombo Ricci Marino Greco D'Angelo Fontana Lo_Presti"),
        company_forms=("{name} S.p.A.", "{name} S.r.l.", "Fratelli {name}"),
    ),
    Culture(
        "pl-PL",
        4,
        "PLN",
        "+48225550###",
        "+48505550###",
        _words("Zofia Łukasz Małgorzata Paweł Agnieszka Michał Żaneta Stanisław Kasia Wojciech"),
        _words("Nowak Wójcik Kamiński Lewandowska Zieliński Wiśniewska Dąbrowski Kozłowska Żak Jabłoński"),
        company_forms=("{name} Sp. z o.o.", "{name} S.A."),
    ),
    Culture(
        "sv-SE",
        4,
        "SEK",
        "+46846500###",
        "+4670174####",
        _words("Astrid Björn Elsa Åke Linnéa Göran Maja Sven Ebba Håkan"),
        _words("Andersson Lindqvist Bergström Åkesson Öberg Sjögren Nyström Hedlund Ekström Wallin"),
        company_forms=("{name} AB", "{name} & Co AB"),
    ),
    Culture(
        "tr-TR",
        3,
        "TRY",
        "+90212555####",
        "+90532555####",
        _words("Ayşe Mehmet Zeynep Emre Elif Çağlar İrem Oğuz Şule Barış"),
        _words("Yılmaz Kaya Demir Çelik Şahin Öztürk Aydın Güneş Koç Erdoğan"),
        company_forms=("{name} A.Ş.", "{name} Ltd. Şti."),
    ),
    Culture(
        "hi-IN",
        6,
        "INR",
        "+91225550####",
        "+9198205#####",
        _words(
            "Aarav|Aarav Diya|Diya आदित्य|Aditya Kavya|Kavya राहुल|Rahul Priya|Priya Vikram|Vikram अनिता|Anita "
            "Rohan|Rohan Meera|Meera Sanjay|Sanjay Lakshmi|Lakshmi"
        ),
        _words(
            "Sharma|Sharma वर्मा|Verma Iyer|Iyer Gupta|Gupta Reddy|Reddy Nair|Nair Chatterjee|Chatterjee "
            "Singh|Singh Desai|Desai Mehta|Mehta"
        ),
        company_forms=("{name} Pvt. Ltd.", "{name} Industries", "{name} & Bros"),
    ),
    Culture(
        "zh-CN",
        5,
        "CNY",
        "+86105550####",
        "+861390555####",
        _words("伟|Wei 芳|Fang 娜|Na 秀英|Xiuying 敏|Min 静|Jing 强|Qiang 磊|Lei 洋|Yang 杰|Jie 丽娟|Lijuan"),
        _words("王|Wang 李|Li 张|Zhang 刘|Liu 陈|Chen 杨|Yang 黄|Huang 赵|Zhao 吴|Wu 周|Zhou"),
        family_first=True,
        company_forms=("{name} Trading", "{name} Technology Co."),
    ),
    Culture(
        "ja-JP",
        5,
        "JPY",
        "+8135550####",
        "+819055501###",
        _words("陽菜|Hina 蓮|Ren 結衣|Yui 大翔|Hiroto さくら|Sakura 健太|Kenta 美咲|Misaki 恵子|Keiko 翔|Sho"),
        _words("佐藤|Sato 鈴木|Suzuki 高橋|Takahashi 田中|Tanaka 渡辺|Watanabe 伊藤|Ito 中村|Nakamura"),
        family_first=True,
        company_forms=("{name} K.K.", "{name} Shoten"),
    ),
    Culture(
        "ko-KR",
        3,
        "KRW",
        "+8225550####",
        "+821055501###",
        _words("민준|Minjun 서연|Seoyeon 지훈|Jihun 하은|Haeun 도윤|Doyun 수빈|Subin 예준|Yejun 지우|Jiwoo"),
        _words("김|Kim 이|Lee 박|Park 최|Choi 정|Jung 강|Kang 조|Cho 윤|Yoon"),
        family_first=True,
        company_forms=("{name} Co., Ltd.",),
    ),
    Culture(
        "ar-AE",
        4,
        "AED",
        "+9714555####",
        "+97150555####",
        _words("محمد|Mohammed فاطمة|Fatima أحمد|Ahmed مريم|Maryam خالد|Khalid نورة|Noura يوسف|Yousef ليلى|Layla"),
        _words("المنصوري|Al-Mansoori الهاشمي|Al-Hashimi حداد|Haddad النجار|Al-Najjar خوري|Khoury"),
        company_forms=("{name} Trading LLC", "{name} Group"),
    ),
    Culture(
        "en-NG",
        4,
        "NGN",
        "+234705550####",
        "+234805550####",
        _words("Chidi Adaeze Emeka Ngozi Tunde Folake Ifeanyi Yewande Sọlá Amara Obinna Kẹhinde"),
        _words("Okafor Adeyemi Eze Balogun Okonkwo Abubakar Nwosu Ọlátúnjí Ibrahim Bello"),
        company_forms=("{name} Nigeria Ltd", "{name} Ventures"),
    ),
    Culture(
        "vi-VN",
        3,
        "VND",
        "+84245550####",
        "+84905550###",
        _words("Anh Dũng Hương Khánh Linh Minh Ngọc Phúc Thảo Tuấn"),
        _words("Nguyễn Trần Lê Phạm Hoàng Huỳnh Võ Đặng Bùi Đỗ"),
        family_first=True,
        company_forms=("{name} JSC", "{name} Co., Ltd."),
    ),
)

STEMS: tuple[str, ...] = _words(
    "Alder Amber Arbor Atlas Beacon Birch Bluebird Brook Canvas Cedar Cinder Clover Cobalt Copper Coral Crane "
    "Cypress Dawn Delta Ember Falcon Fern Finch Fjord Flint Forge Foxglove Garnet Granite Grove Harbor Hazel "
    "Heron Horizon Indigo Iris Ivory Jasper Juniper Kestrel Lantern Larch Laurel Lark Linden Lotus Lumen Maple "
    "Marigold Meadow Meridian Mistral Nimbus Northwind Oak Obsidian Ochre Olive Onyx Opal Orchard Osprey Pearl "
    "Pebble Pine Polaris Poplar Prairie Quarry Quartz Quill Raven Redwood Ridge River Rowan Saffron Sage "
    "Sandstone Sequoia Silver Sparrow Spruce Starling Stone Summit Swallow Sycamore Tamarind Teal Thistle "
    "Timber Topaz Tundra Umber Vale Velvet Verdant Violet Walnut Willow Wren Zephyr"
)
TRADES: tuple[str, ...] = (
    "Bakery", "Books", "Brewing", "Ceramics", "Clinic", "Coffee", "Cycles", "Dental", "Design", "Dairy",
    "Electric", "Fabrics", "Farms", "Fitness", "Flowers", "Foods", "Furniture", "Gardens", "Glass", "Hotels",
    "Interiors", "Kitchens", "Labs", "Logistics", "Market", "Media", "Museum", "Music", "Optics", "Outfitters",
    "Paper", "Pharmacy", "Press", "Robotics", "School", "Shipping", "Software", "Studios", "Tea", "Theatre",
    "Tools", "Toys", "Travel", "Vineyards", "Watches", "Yachts",
)  # fmt: skip
