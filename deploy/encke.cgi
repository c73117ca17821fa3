#!/usr/bin/cgi-fcgi -f
#
# Encke on a host that has only CGI. Put this file, executable, into the folder of CGI programs
# (cgi-bin/). It needs cgi-fcgi (Debian: libfcgi-bin). Encke is then at /cgi-bin/encke.cgi/create,
# .../update and so on. The daemon runs separately, as the same user or as one whose socket the CGI
# user may open:
#
#   encke --socket /run/encke/encke.sock --db /var/lib/encke/encke.db
#
# It costs one small process (this one) for every held request, and what the web server needs in
# addition. That is fine for a few dozen readers, but not for thousands: use nginx/ or lighttpd/ for
# these. The web server must let a CGI program run for longer than --hold (Apache: Timeout). When a
# browser goes away, its process may stay until the hold ends; lighttpd can end it at once:
# cgi.limits = ( "tcp-fin-propagate" => "SIGTERM" ).
#
# Do not let cgi-fcgi start the daemon (-start, or -connect with a program): two requests at once
# would start two daemons. The log refuses the second one, but that one has the socket's name by then.
-bind -connect /run/encke/encke.sock
