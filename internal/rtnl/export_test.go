package rtnl

// FD is the socket's descriptor, to be closed underneath it.
func (s *Socket) FD() int { return s.fd }
