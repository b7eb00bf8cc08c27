package hostcheck

import (
	"net/netip"
	"strings"
)

// span is the addresses from first to last, both included, of one family.
type span struct {
	first, last netip.Addr
}

// parseSpan reads an address, a prefix or a range, as nft writes them. A range is of one family, and not backwards.
func parseSpan(s string) (span, bool) {
	if a, b, ok := strings.Cut(s, "-"); ok {
		first, err1 := netip.ParseAddr(a)
		last, err2 := netip.ParseAddr(b)
		return span{first, last}, err1 == nil && err2 == nil && first.Is4() == last.Is4() && first.Compare(last) <= 0
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return spanOf(p), true
	}
	a, err := netip.ParseAddr(s)
	return span{a, a}, err == nil
}

func spanOf(p netip.Prefix) span {
	p = p.Masked()
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return span{p.Addr(), last}
}

func (s span) contains(p netip.Prefix) bool {
	o := spanOf(p)
	return s.first.Is4() == o.first.Is4() && s.first.Compare(o.first) <= 0 && o.last.Compare(s.last) <= 0
}

func (s span) overlaps(p netip.Prefix) bool {
	o := spanOf(p)
	return s.first.Is4() == o.first.Is4() && s.first.Compare(o.last) <= 0 && o.first.Compare(s.last) <= 0
}
