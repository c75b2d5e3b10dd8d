import unittest

from ledger import Bank, UnknownAccount, format_cents, parse_cents
from ledger.sheet import balance_sheet


class AccountTest(unittest.TestCase):
    def test_deposits_add_up(self):
        bank = Bank()
        bank.open("ann")
        bank.deposit("ann", 1250)
        bank.deposit("ann", 50)
        self.assertEqual(bank.account("ann").balance, 1300)

    def test_what_makes_no_sense_is_refused(self):
        bank = Bank()
        bank.open("ann")
        with self.assertRaises(ValueError):
            bank.open("ann")
        with self.assertRaises(ValueError):
            bank.deposit("ann", 0)
        with self.assertRaises(UnknownAccount):
            bank.deposit("bob", 1)

    def test_amounts_survive_the_round_trip(self):
        for text in ("0.00", "12.50", "-3.07"):
            self.assertEqual(format_cents(parse_cents(text)), text)
        with self.assertRaises(ValueError):
            parse_cents("1.5")

    def test_the_sheet_sums_up(self):
        bank = Bank()
        bank.open("ann")
        bank.open("bob")
        bank.deposit("bob", 700)
        sheet = balance_sheet([bank.account("bob"), bank.account("ann")])
        self.assertEqual([line.split() for line in sheet.splitlines()], [["ann", "0.00"], ["bob", "7.00"], ["total", "7.00"]])


if __name__ == "__main__":
    unittest.main()
