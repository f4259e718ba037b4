ipvsadm -A -t 192.0.2.10:5060 -s rr -p 60 --pe sip
ipvsadm -a -t 192.0.2.10:5060 -r 198.51.100.11:5060 -m
ipvsadm -A -t 192.0.2.10:5061 -s rr --pe sip
ipvsadm -a -t 192.0.2.10:5061 -r 198.51.100.11:5061 -m
ipvsadm -A -u 192.0.2.10:5061 -s rr --pe sip
ipvsadm -a -u 192.0.2.10:5061 -r 198.51.100.11:5061 -m
ipvsadm -a -u 192.0.2.10:5061 -r 198.51.100.12:5061 -m
ipvsadm -A -u 192.0.2.11:0 -s rr -p 60 --pe sip
ipvsadm -a -u 192.0.2.11:0 -r 198.51.100.11:0 -m
ipvsadm -a -u 192.0.2.11:0 -r 198.51.100.12:0 -m
ipvsadm -A -u 192.0.2.12:5060 -s rr -p 60 --pe sip -M 255.255.255.0
ipvsadm -a -u 192.0.2.12:5060 -r 198.51.100.11:5060 -g
ipvsadm -a -u 192.0.2.12:5060 -r 198.51.100.12:5060 -g
