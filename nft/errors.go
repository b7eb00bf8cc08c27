package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrUnknownOutcome: the kernel's answer was lost, the transaction happened or it did not. Observe, do not assume.
	ErrUnknownOutcome = errors.New("the kernel's answer was lost")
	// ErrOwned: the table belongs to another process that is alive.
	ErrOwned = errors.New("owned by another process: another daemon is running")
	// ErrNoKernelSupport: the kernel lacks nf_tables, or the protection that was asked for.
	ErrNoKernelSupport = errors.New("not supported by this kernel")
	// ErrClosed: the writer is closed.
	ErrClosed = errors.New("nf_tables writer is closed")
)

// Error is a refusal of the kernel. [errors.Is] finds its Errno (EEXIST: the element or an interval that overlaps is there;
// ENOENT: it, its set or its table is not there; ENFILE: the set is full; EPERM: no CAP_NET_ADMIN) and, where it applies, one of
// [ErrOwned] and [ErrNoKernelSupport].
type Error struct {
	// Op is what could not be done: "add element", "create table", …; "change table …" when it was the transaction as a whole.
	Op string
	// Table is the zero TableID when the transaction failed as a whole.
	Table TableID
	// Object is the set's or chain's name; empty when it is the table itself.
	Object string
	// Detail is the element or the rule, in nft syntax; empty when the message had several elements.
	Detail string
	Errno  unix.Errno
	// Message is the kernel's extended acknowledgement; often empty.
	Message string
	// Kind is ErrOwned, ErrNoKernelSupport or nil.
	Kind error
}

// Error reads: cannot add element inet bridged publish4any { … }: file exists.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("cannot " + e.Op)
	if e.Table != (TableID{}) {
		b.WriteString(" " + e.Table.String())
	}
	if e.Object != "" {
		b.WriteString(" " + e.Object)
	}
	if e.Detail != "" {
		b.WriteString(" " + e.Detail)
	}
	b.WriteString(": " + e.Errno.Error())
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Kind != nil {
		b.WriteString(" (" + e.Kind.Error() + ")")
	}
	return b.String()
}

// Unwrap gives the errno and the kind.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Errno}
	}
	return []error{e.Errno, e.Kind}
}

var opNames = [...]string{addTable: "create table", takeTable: "take over table", deleteTable: "delete table", addSet: "create set",
	deleteSet: "delete set", addChain: "create chain", deleteChain: "delete chain", addRule: "add rule", deleteRules: "delete rules of table"}

// failure names what the kernel refused.
func (b *batch) failure(f refusal) error {
	e := &Error{Errno: f.errno, Message: f.text}
	if f.seq == 0 {
		e.Op = "change " + b.tables()
		return e.whole()
	}
	m := &b.messages[f.seq-1]
	e.Table, e.Object, e.Detail = m.table, m.object, m.detail()
	switch {
	case m.kind != 0:
		e.Op = opNames[m.kind]
	case m.delete:
		e.Op = "delete element"
	default:
		e.Op = "add element"
	}
	switch {
	case f.errno == unix.EPERM:
		e.Kind = ErrOwned
	case f.errno == unix.ENFILE && m.kind == 0:
		e.Message = "the set is full"
	case f.errno == unix.EOPNOTSUPP && m.kind == addTable:
		e.Message, e.Kind = "the kernel has no nf_tables in this family", ErrNoKernelSupport
	}
	return e
}

// whole explains the refusal of a request that the kernel has not looked into.
func (e *Error) whole() error {
	switch e.Errno {
	case unix.EPERM:
		e.Message = "no CAP_NET_ADMIN in this network namespace"
	case unix.EOPNOTSUPP, unix.EINVAL, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT:
		e.Message, e.Kind = "the kernel has no nf_tables (CONFIG_NF_TABLES)", ErrNoKernelSupport
	}
	return e
}

// probeError explains why nf_tables did not answer the first question.
func probeError(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("cannot use nf_tables: %w", err)
	}
	e := &Error{Op: "use nf_tables", Errno: errno}
	return e.whole()
}

func (m *message) detail() string {
	switch {
	case m.rule != nil:
		return ruleText(m.table.Family, m.rule)
	case len(m.elements) == 1:
		return elementsLine(m.set, m.elements, m.delete)
	}
	return ""
}

// sendFailure is the error of a batch that did not reach the kernel.
func (b *batch) sendFailure(err error) error {
	if errors.Is(err, unix.EMSGSIZE) {
		return fmt.Errorf("cannot change %s by %d bytes in one transaction: %w: raise net.core.wmem_max, or run with CAP_NET_ADMIN "+
			"in the initial user namespace", b.tables(), len(b.buf), err)
	}
	return fmt.Errorf("cannot change %s: cannot send a transaction of %d bytes: %w", b.tables(), len(b.buf), err)
}

// tables names what a batch is about, as "table inet bridged".
func (b *batch) tables() string {
	var names []string
	for i := range b.messages {
		if name := "table " + b.messages[i].table.String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " and ")
}
