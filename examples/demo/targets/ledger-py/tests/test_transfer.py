import unittest

from ledger import Bank, Entry, Overdrawn, UnknownAccount


class TransferTest(unittest.TestCase):
    def setUp(self):
        self.bank = Bank()
        self.bank.open("ann", overdraft_limit=1000)
        self.bank.open("bob")
        self.bank.deposit("ann", 500)

    def balances(self):
        return self.bank.account("ann").balance, self.bank.account("bob").balance

    def test_money_moves_and_is_written_down_once(self):
        self.bank.transfer("ann", "bob", 300)
        self.assertEqual(self.balances(), (200, 300))
        self.assertEqual(list(self.bank.journal)[1:], [Entry("ann", "bob", 300)])

    def test_the_limit_itself_may_be_used(self):
        self.bank.transfer("ann", "bob", 1500)
        self.assertEqual(self.balances(), (-1000, 1500))

    def test_beyond_the_limit_nothing_changes(self):
        with self.assertRaises(Overdrawn):
            self.bank.transfer("ann", "bob", 1501)
        self.assertEqual(self.balances(), (500, 0))
        self.assertEqual(len(self.bank.journal), 1)

    def test_without_a_limit_zero_is_the_floor(self):
        self.bank.transfer("ann", "bob", 100)
        self.bank.transfer("bob", "ann", 100)
        self.assertEqual(self.balances(), (500, 0))
        with self.assertRaises(Overdrawn):
            self.bank.transfer("bob", "ann", 1)

    def test_what_makes_no_sense_is_refused(self):
        for source, target, cents, error in (
            ("ann", "eve", 1, UnknownAccount),
            ("eve", "ann", 1, UnknownAccount),
            ("ann", "ann", 1, ValueError),
            ("ann", "bob", 0, ValueError),
            ("ann", "bob", -5, ValueError),
        ):
            with self.subTest(source=source, target=target, cents=cents), self.assertRaises(error):
                self.bank.transfer(source, target, cents)
        self.assertEqual(self.balances(), (500, 0))
        self.assertEqual(len(self.bank.journal), 1)


if __name__ == "__main__":
    unittest.main()
