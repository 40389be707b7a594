"""Take in the first customers and their orders."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from migrator.adapters.postgres import Context

revision = "ca4e9ba21aa7"
down_revision = "c8310cbcd9cf"


class Base(DeclarativeBase):
    """A model of this file alone: it describes the tables on this day, and nobody else imports it."""


class Customer(Base):
    """Who buys."""

    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    fullname: Mapped[str]
    orders: Mapped[list["Order"]] = relationship()


class Order(Base):
    """What was bought at one time."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"))
    # The type is there already; without create_type=False SQLAlchemy would want to create it.
    status: Mapped[str] = mapped_column(ENUM(name="order_status", create_type=False))
    lines: Mapped[list["Line"]] = relationship()


class Line(Base):
    """How many of one product, at which price."""

    __tablename__ = "order_lines"
    order_id: Mapped[int] = mapped_column(sa.ForeignKey("orders.id"), primary_key=True)
    product_id: Mapped[int] = mapped_column(primary_key=True)
    quantity: Mapped[int]
    unit_price_cents: Mapped[int]


# email, name, and for each order its status and (sku, quantity) lines
CUSTOMERS = (
    (
        "ada@example.com",
        "Ada Lovelace",
        (("shipped", (("TEA-ASSAM", 2), ("TIN-SMALL", 2))), ("placed", (("POT-IRON", 1),))),
    ),
    ("grace@example.com", "Grace Hopper", (("paid", (("TEA-SENCHA", 1), ("CUP-BLUE", 4))),)),
    ("edsger@example.com", "Edsger de Jong", (("cancelled", (("POT-GLASS", 1),)),)),
)
EMAILS = [email for email, _, _ in CUSTOMERS]


async def upgrade(ctx: Context) -> None:
    rows = await ctx.session.execute(sa.text("SELECT sku, id, price_cents FROM products"))
    prices = {sku: (product, cents) for sku, product, cents in rows}

    def line(sku: str, quantity: int) -> Line:
        product, cents = prices[sku]
        return Line(product_id=product, quantity=quantity, unit_price_cents=cents)

    # The session orders the inserts along the keys and passes the new ids on. It is flushed when upgrade() returns.
    for email, name, orders in CUSTOMERS:
        placed = [Order(status=status, lines=[line(*each) for each in lines]) for status, lines in orders]
        ctx.session.add(Customer(email=email, fullname=name, orders=placed))


async def downgrade(ctx: Context) -> None:
    # Children before parents; the lines follow their orders by ON DELETE CASCADE.
    theirs = sa.select(Customer.id).where(Customer.email.in_(EMAILS))
    await ctx.session.execute(sa.delete(Order).where(Order.customer_id.in_(theirs)))
    await ctx.session.execute(sa.delete(Customer).where(Customer.email.in_(EMAILS)))


async def verify(ctx: Context) -> bool:
    # Single columns on purpose: select(Customer) would also ask for fullname, which a later revision drops.
    found = await ctx.session.scalars(
        sa.select(Customer.email)
        .join(Order, Order.customer_id == Customer.id)
        .join(Line, Line.order_id == Order.id)
        .where(Customer.email.in_(EMAILS))
    )
    return set(found) == set(EMAILS)
