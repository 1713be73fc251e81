"""Errors a library logs are collected and not printed; its logger is as before afterwards."""

import logging

from fundusion.core.complaints import complaints_of


def test_errors_are_collected_and_nothing_is_passed_on(caplog):
    logger = logging.getLogger("a.library")
    handlers = list(logger.handlers)
    with complaints_of("a.library") as said:
        logger.error("strip %d is missing", 3)
        logger.warning("odd")
    assert said == ["strip 3 is missing"]
    assert caplog.text == ""
    logger.error("later")
    assert said == ["strip 3 is missing"]
    assert "later" in caplog.text
    assert logger.handlers == handlers
    assert logger.propagate
