// Package nft holds nf_tables programs as values: tables with typed sets, chains and rules, and the elements of the sets. It
// writes them, reads them back, prints them in nft syntax, and leads virtual packets through them. It knows nothing of what the
// rules are for.
//
// # From a value to the kernel
//
// What is wanted is a [Ruleset]: tables, which are constant programs, and elements, which change all the time. [Diff] of what is
// there and what is wanted is a [Tx], a value that can be printed, applied to a Ruleset, and committed by a [Writer]. What the kernel
// then holds is a Ruleset again:
//
//	Table, Elements ──► Ruleset ──┐ want
//	                              ├──► Diff ──► Tx ──► Writer.Commit ──► one batch ──► kernel
//	            ┌────► Ruleset ───┘ have        │      (all of it, or nothing)           │
//	            │                               └──► String: what will be done           │
//	            └─────────────── Writer.Observe ◄────────────────────────────────────────┘
//
// A rule is written the way it reads in nft syntax, and there is one way to write it: equal programs are equal values, which is what
// Diff compares. One table of the fields that a rule can look at (expr.go) serves everyone:
//
//	                        ┌──► encodeRule ──► expressions, anonymous sets ──► kernel
//	Rule{IPSAddr.In("x"),   │                                                     │
//	     Counter, Drop} ────┼──► RuleText ────► ip saddr @x counter drop          │
//	      ▲                 │                                                     │
//	      │                 └──► Walk ────────► would it drop this packet?        │
//	      └──────────────────────────────────── decodeRule ◄──────────────────────┘
//
// Expressions and text are exactly those of nft 1.0.6: nft -s list table prints of a table that was loaded by a Writer what
// [Table.String] does, and nft -f of that text loads what the Writer does. A rule that is read back and that encodeRule would not
// have written is never taken for one of ours: it is an [Unknown].
//
// # The way of a packet
//
// At each hook a packet passes the base chains there, of all tables, in order of their priorities. A drop is the end of it,
// an accept is the end of that base chain only. IP packets pass the hooks of family inet, frames those of family bridge:
//
//	inet    in ──► prerouting ──► routing ─┬─► forward ──► postrouting ──► out
//	                                       │                   ▲
//	                                       ▼                   │
//	                                     input            routing ◄── output
//	                                       │                            ▲
//	                                       └──► process of the host ────┘
//
//	bridge  port ──► prerouting ──► which port? ─┬─► forward ──► postrouting ──► other ports
//	                                             └─► input ────► inet, with the bridge as interface
//
// Priorities within a hook: conntrack defragments at -400 and finds the flow at -200; then come [PriorityMangle], [PriorityDstNAT],
// [PriorityFilter], [PrioritySrcNAT]. So a chain at PriorityMangle in prerouting sees the state of the flow and the destination that was
// asked for, one at PriorityFilter in forward the translated one. Chains of type nat see the first packet of a flow only; conntrack
// applies their decision to the others. [Ruleset.Walk] does the same with a [Packet], hook by hook.
package nft
