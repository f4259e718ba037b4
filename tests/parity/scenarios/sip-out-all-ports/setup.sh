ipvsadm -A -u 192.0.2.10:0 -s rr -p 60 --pe sip
ipvsadm -a -u 192.0.2.10:0 -r 198.51.100.11:5060 -m
ipvsadm -a -u 192.0.2.10:0 -r 198.51.100.12:0 -m
ipvsadm -A -u 192.0.2.11:5060 -s rr -p 60 --pe sip
ipvsadm -a -u 192.0.2.11:5060 -r 198.51.100.13:0 -m
