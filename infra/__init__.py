"""Adapters and entry points: which real thing stands behind each port?"""
