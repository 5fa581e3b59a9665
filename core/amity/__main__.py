"""``python -m amity``"""

from .cli import main

main(prog_name="amity")
