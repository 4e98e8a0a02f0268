"""Policies over the network: LeRobot's asynchronous inference, with sessions, memory and safe decoding."""
