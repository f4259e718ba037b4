ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 1
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 1
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.13:80 -m -w 1
ipvsadm -A -t 192.0.2.10:443 -s wlc -p 60 -M 255.255.255.0
ipvsadm -a -t 192.0.2.10:443 -r 198.51.100.11:443 -g -w 5 -x 10 -y 2
ipvsadm -A -u 192.0.2.10:53 -s rr
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.12:5353 -m
ipvsadm -A -t [2001:db8:1::10]:80 -s rr -p 90 -M 64
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:8080 -m
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::12]:8080 -m -w 3
ipvsadm -A --sctp-service 192.0.2.10:9 -s rr
ipvsadm -a --sctp-service 192.0.2.10:9 -r 198.51.100.13:9 -m
