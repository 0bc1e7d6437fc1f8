"""A short look with the eyes of `python -m tests.fuzz`, the same every time."""

from tests.fuzz import lists
from tests.fuzz.house import House
from tests.fuzz.run import play


def test_whatever_clients_say_the_server_keeps_to_the_rfcs_and_takes_what_it_said_it_took(tmp_path):
    house = House(tmp_path)
    try:
        play(house, number=1, examples=40)
    finally:
        house.close()


def test_whatever_is_in_a_list_is_the_same_after_an_export_and_an_import(tmp_path):
    house = House(tmp_path)
    try:
        lists.play(house, number=1, examples=15)
    finally:
        house.close()
