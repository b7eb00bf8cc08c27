//go:build !amd64

package main

func attemptsHere() []attempt { return nil }
