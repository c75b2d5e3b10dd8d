import unittest

from ledger import Bank, Entry, Journal


class JournalTest(unittest.TestCase):
    def test_deposits_are_written_down(self):
        bank = Bank()
        bank.open("ann")
        bank.deposit("ann", 500)
        self.assertEqual(list(bank.journal), [Entry(None, "ann", 500)])

    def test_the_journal_tells_the_balances(self):
        journal = Journal()
        journal.append(Entry(None, "ann", 500))
        journal.append(Entry("ann", "bob", 200))
        self.assertEqual((journal.balance_of("ann"), journal.balance_of("bob")), (300, 200))


if __name__ == "__main__":
    unittest.main()
